"""A server whose answers are scripted: the peer that clients are tested against, good and bad."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tokenwire.stream import StreamFolder
from tokenwire.v1 import chat_pb2, chat_pb2_grpc, models_pb2, models_pb2_grpc, tokens_pb2, tokens_pb2_grpc

WAIT_S = 10.0
"""No wait of a test may take longer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The call ends with this status."""

    code: grpc.StatusCode
    message: str = "scripted"
    details: Sequence[Message] = ()
    trailers: Mapping[str, str | bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UntilCancelled:
    """The call stands still until the client goes away."""


Step = chat_pb2.ChatCompletionEvent | Failure | UntilCancelled
Script = Sequence[Step]


def answer(*texts: str | chat_pb2.Delta, prompt_tokens: int = 3) -> list[Step]:
    """A good stream of one choice: each text is a delta and counts as one token."""
    deltas = [text if isinstance(text, chat_pb2.Delta) else chat_pb2.Delta(content=text) for text in texts]
    usage = chat_pb2.Usage(
        prompt_tokens=prompt_tokens, completion_tokens=len(texts), total_tokens=prompt_tokens + len(texts)
    )
    reason = (
        chat_pb2.FinishReason.FINISH_REASON_TOOL_CALLS
        if any(delta.tool_calls for delta in deltas)
        else chat_pb2.FinishReason.FINISH_REASON_STOP
    )
    events = [
        chat_pb2.ChatCompletionEvent(started=started(prompt_tokens=prompt_tokens)),
        *(chat_pb2.ChatCompletionEvent(delta=delta) for delta in deltas),
        chat_pb2.ChatCompletionEvent(finished=chat_pb2.Finished(finish_reason=reason)),
        chat_pb2.ChatCompletionEvent(completed=chat_pb2.Completed(usage=usage)),
    ]
    for sequence, event in enumerate(events):
        event.sequence = sequence
    return list(events)


def thought(text: str) -> chat_pb2.Delta:
    """Reasoning, to be one of the texts of an answer."""
    return chat_pb2.Delta(reasoning=text)


def call(call_id: str, name: str, *arguments: str, index: int = 0) -> list[chat_pb2.Delta]:
    """A tool call in parts: the first has its id and name, the others the pieces of its arguments."""
    parts = [chat_pb2.ToolCallDelta(index=index, id=call_id, name=name)]
    parts += [chat_pb2.ToolCallDelta(index=index, arguments=piece) for piece in arguments]
    return [chat_pb2.Delta(tool_calls=[part]) for part in parts]


def started(*, prompt_tokens: int = 3, n: int = 1) -> chat_pb2.Started:
    """The first event's body."""
    return chat_pb2.Started(
        id="chatcmpl-1", model="m", prompt_tokens=prompt_tokens, parameters=chat_pb2.EffectiveParameters(n=n)
    )


class ScriptedServer:
    """Serves on a free port of the loopback. Calls take the scripts in turn; the last one serves all that follow.

    The answers of unary calls with `store` can be read again.
    """

    def __init__(self, *scripts: Script, models: Sequence[str] = ("m",)) -> None:
        self.models = list(models)
        self.requests: list[chat_pb2.ChatCompletionRequest] = []
        """Of chat calls, in order of arrival, attempts that were scripted to fail included."""
        self.metadata: list[dict[str, str | bytes]] = []
        """Of the same calls."""
        self.stored: dict[str, chat_pb2.StoredChatCompletion] = {}
        """By completion id."""
        self.list_calls = 0
        self.cancelled = threading.Event()
        """A client went away from a chat call before its end."""
        self._scripts = list(scripts)
        self._lock = threading.Lock()
        # A client that stops half-way holds a thread until its call ends.
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
        chat_pb2_grpc.add_ChatServiceServicer_to_server(_Chat(self), self._server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), self._server)
        tokens_pb2_grpc.add_TokenServiceServicer_to_server(_Tokens(), self._server)
        health_servicer = health.HealthServicer()
        health_servicer.set("loading", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def next_script(self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext) -> Script:
        """Note the call and take its script."""
        with self._lock:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait(WAIT_S)


class _Chat(chat_pb2_grpc.ChatServiceServicer):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def CreateChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.ChatCompletion:
        folder = StreamFolder()
        for event in self._play(request, context):
            folder.add(event)
        if request.store:
            self._server.stored[folder.completion.id] = chat_pb2.StoredChatCompletion(
                completion=folder.completion, metadata=request.metadata, user=request.user
            )
        return folder.completion

    def GetChatCompletion(  # noqa: N802
        self, request: chat_pb2.GetChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.StoredChatCompletion:
        if request.completion_id not in self._server.stored:
            missing = Failure(grpc.StatusCode.NOT_FOUND, details=[ErrorInfo(reason="COMPLETION_NOT_FOUND")])
            _fail(missing, context)
        return self._server.stored[request.completion_id]

    def StreamChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        return self._play(request, context)

    def ResumeChatCompletion(  # noqa: N802
        self, request: chat_pb2.ResumeChatCompletionRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        return self._play(chat_pb2.ChatCompletionRequest(), context)

    def CancelChatCompletion(  # noqa: N802
        self, request: chat_pb2.CancelChatCompletionRequest, context: grpc.ServicerContext
    ) -> chat_pb2.CancelChatCompletionResponse:
        return chat_pb2.CancelChatCompletionResponse(completion_id=request.completion_id)

    def _play(
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> Iterator[chat_pb2.ChatCompletionEvent]:
        gone, done = threading.Event(), threading.Event()

        def on_end() -> None:
            gone.set()
            if not done.is_set():
                self._server.cancelled.set()

        if not context.add_callback(on_end):
            on_end()
        for step in self._server.next_script(request, context):
            match step:
                case Failure():
                    done.set()
                    _fail(step, context)
                case UntilCancelled():
                    gone.wait(WAIT_S)
                    return
                case _:
                    yield step
        done.set()


class _Models(models_pb2_grpc.ModelServiceServicer):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> models_pb2.ListModelsResponse:
        self._server.list_calls += 1
        return models_pb2.ListModelsResponse(models=[models_pb2.Model(id=name) for name in self._server.models])

    def GetModel(  # noqa: N802
        self, request: models_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> models_pb2.Model:
        return models_pb2.Model(id=request.model, context_length=2048, system_fingerprint="fp_1")


class _Tokens(tokens_pb2_grpc.TokenServiceServicer):
    """Every code point is a token."""

    def CountTokens(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.CountTokensResponse:
        count = sum(len(message.content) for message in request.messages)
        return tokens_pb2.CountTokensResponse(prompt_tokens=count, context_length=2048)

    def RenderPrompt(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.RenderPromptResponse:
        return tokens_pb2.RenderPromptResponse(prompt="".join(message.content for message in request.messages))

    def Tokenize(  # noqa: N802
        self, request: tokens_pb2.TokenizeRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.TokenizeResponse:
        return tokens_pb2.TokenizeResponse(token_ids=[ord(letter) for letter in request.text])

    def Detokenize(  # noqa: N802
        self, request: tokens_pb2.DetokenizeRequest, context: grpc.ServicerContext
    ) -> tokens_pb2.DetokenizeResponse:
        return tokens_pb2.DetokenizeResponse(text="".join(chr(token) for token in request.token_ids))


def _fail(failure: Failure, context: grpc.ServicerContext) -> None:
    trailers: list[tuple[str, str | bytes]] = list(failure.trailers.items())
    if failure.details:
        status = status_pb2.Status(code=failure.code.value[0], message=failure.message)
        for detail in failure.details:
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailers.append(("grpc-status-details-bin", status.SerializeToString()))
    context.set_trailing_metadata(tuple(trailers))
    context.abort(failure.code, failure.message)
