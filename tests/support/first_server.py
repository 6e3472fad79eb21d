"""A server that knows the first contract and nothing else: the peer of a client that is newer than its server."""

import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from support.first_contract import CHAT, MODELS, PACKAGE, TOKENS, message, methods

WAIT_S = 10.0

_STARTED = {"id": "chatcmpl-1", "model": "old", "prompt_tokens": 3, "parameters": {"n": 1}}
_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_EVENTS: list[dict[str, Any]] = [
    {"started": _STARTED},
    {"delta": {"content": "one "}},
    {"delta": {"content": "two"}},
    {"finished": {"finish_reason": "FINISH_REASON_STOP"}},
    {"completed": {"usage": _USAGE}},
]
_MODEL = {"id": "old", "context_length": 2048, "limits": {"max_n": 128}}
_ANSWERS: Mapping[str, Message] = {
    "CreateChatCompletion": message(
        "ChatCompletion",
        id="chatcmpl-1",
        model="old",
        choices=[{"content": "one two", "finish_reason": "FINISH_REASON_STOP"}],
        usage=_USAGE,
    ),
    "ListModels": message("ListModelsResponse", models=[_MODEL]),
    "GetModel": message("Model", **_MODEL),
    "CountTokens": message("CountTokensResponse", prompt_tokens=3, context_length=2048),
    "RenderPrompt": message("RenderPromptResponse", prompt="hi"),
    "Tokenize": message("TokenizeResponse", token_ids=[1, 2]),
    "Detokenize": message("DetokenizeResponse", text="hi"),
}
"""Of the unary calls, by method."""


class FirstServer:
    """Serves on a free port of the loopback."""

    def __init__(self, *, stops_after: int | None = None, cuts_after: int | None = None) -> None:
        """Streams stand still, or lose their connection, after so many events."""
        self.requests: list[Any] = []
        """Of chat calls."""
        self.cancelled = threading.Event()
        """A client went away from a stream."""
        self._stops_after = stops_after
        self._cuts_after = cuts_after
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers(tuple(self._handlers(service) for service in (CHAT, MODELS, TOKENS)))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _handlers(self, service: str) -> grpc.GenericRpcHandler:
        handlers = {}
        for method in methods(service):
            parse, write = (GetMessageClass(kind) for kind in (method.input_type, method.output_type))
            if method.server_streaming:
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                    self._stream, parse.FromString, write.SerializeToString
                )
            else:
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                    self._answer(method.name), parse.FromString, write.SerializeToString
                )
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)

    def _answer(self, method: str) -> Any:
        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            self.requests.append(request)
            return _ANSWERS[method]

        return answer

    def _stream(self, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        self.requests.append(request)
        gone = threading.Event()
        context.add_callback(gone.set)
        for sequence, event in enumerate(_EVENTS):
            if sequence == self._stops_after:
                assert gone.wait(WAIT_S)
                self.cancelled.set()
                return
            if sequence == self._cuts_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost")
            yield message("ChatCompletionEvent", sequence=sequence, **event)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait(WAIT_S)
