"""The chat service behind gRPC, as the REST layer takes it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tokenwire.chat.call import note_completion
from tokenwire.chat.caller import Caller
from tokenwire.chat.live.reader import OnSlow
from tokenwire.errors import SlowConsumerError
from tokenwire.gateway.forwarded import AUTHORIZATION_OF_REQUEST
from tokenwire.gateway.status import error_of
from tokenwire.request_id import REQUEST_ID_HEADER
from tokenwire.security.access import AUTHORIZATION
from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    StoredChatCompletion,
    Usage,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.models_pb2_grpc import ModelServiceStub
from tokenwire.v1.tokens_pb2 import (
    CountTokensResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    RenderPromptResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from tokenwire.v1.tokens_pb2_grpc import TokenServiceStub

Answer = TypeVar("Answer", bound=Message)

LOOKUP_TIMEOUT_S = 60.0
"""For all that generates nothing. What generates takes as long as the HTTP client waits."""

HEALTH_TIMEOUT_S = 5.0

MAX_WRITE_S = 30.0
"""An HTTP client that does not take an event for so long is given up: its answer is not read any further meanwhile."""


class RemoteChat:
    """Every call is one RPC, with the key, the request id and the trace context of the HTTP request."""

    def __init__(self, channel: grpc.aio.Channel, *, max_write_s: float = MAX_WRITE_S) -> None:
        self._chat = ChatServiceStub(channel)
        self._models = ModelServiceStub(channel)
        self._tokens = TokenServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        self._max_write_s = max_write_s

    async def stream(
        self, request: ChatCompletionRequest, *, caller: Caller, on_slow: OnSlow
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """StreamChatCompletion. Closing it cancels the call."""
        loop = asyncio.get_running_loop()
        call = self._chat.StreamChatCompletion(request, metadata=_metadata(caller))
        completion_id = ""
        try:
            async for event in call:
                completion_id = event.started.id or completion_id
                if event.HasField("completed"):
                    _note(completion_id, event.completed.usage)
                message = f"an event was not taken for {self._max_write_s:g} s"
                error = SlowConsumerError(message, completion_id=completion_id, last_sequence=event.sequence)
                timer = loop.call_later(self._max_write_s, on_slow, error)
                try:
                    yield event
                finally:
                    timer.cancel()
        except grpc.RpcError as error:
            raise error_of(error) from None
        finally:
            call.cancel()

    async def create(self, request: ChatCompletionRequest, *, caller: Caller) -> ChatCompletion:
        """CreateChatCompletion."""
        completion = await _call(self._chat.CreateChatCompletion, request, caller, timeout_s=None)
        _note(completion.id, completion.usage)
        return completion

    async def get_chat_completion(self, request: GetChatCompletionRequest, *, caller: Caller) -> StoredChatCompletion:
        """GetChatCompletion."""
        return await _call(self._chat.GetChatCompletion, request, caller)

    async def list_models(self, request: ListModelsRequest, *, caller: Caller) -> ListModelsResponse:
        """ListModels."""
        return await _call(self._models.ListModels, request, caller)

    async def get_model(self, request: GetModelRequest, *, caller: Caller) -> Model:
        """GetModel."""
        return await _call(self._models.GetModel, request, caller)

    async def count_tokens(self, request: ChatCompletionRequest, *, caller: Caller) -> CountTokensResponse:
        """CountTokens."""
        return await _call(self._tokens.CountTokens, request, caller)

    async def render_prompt(self, request: ChatCompletionRequest, *, caller: Caller) -> RenderPromptResponse:
        """RenderPrompt."""
        return await _call(self._tokens.RenderPrompt, request, caller)

    async def tokenize(self, request: TokenizeRequest, *, caller: Caller) -> TokenizeResponse:
        """Tokenize."""
        return await _call(self._tokens.Tokenize, request, caller)

    async def detokenize(self, request: DetokenizeRequest, *, caller: Caller) -> DetokenizeResponse:
        """Detokenize."""
        return await _call(self._tokens.Detokenize, request, caller)

    async def refusal(self) -> str | None:
        """Health of the service, or that it cannot be asked."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
        except grpc.RpcError:
            return "unreachable"
        return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "not serving"


def _note(completion_id: str, usage: Usage) -> None:
    """For the access line."""
    note_completion(completion_id, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _metadata(caller: Caller) -> tuple[tuple[str, str], ...]:
    forwarded = {
        AUTHORIZATION: AUTHORIZATION_OF_REQUEST.get(),
        REQUEST_ID_HEADER: caller.log_id,
        "traceparent": caller.traceparent,
    }
    return tuple((name, value) for name, value in forwarded.items() if value)


async def _call(
    method: Callable[..., Awaitable[Answer]],
    request: Message,
    caller: Caller,
    *,
    timeout_s: float | None = LOOKUP_TIMEOUT_S,
) -> Answer:
    try:
        return await method(request, timeout=timeout_s, metadata=_metadata(caller))
    except grpc.RpcError as error:
        raise error_of(error) from None
