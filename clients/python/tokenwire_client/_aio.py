"""The client for asyncio: one channel an event loop, made when the loop makes its first call."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, Model
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
from tokenwire_client._connection import DEFAULT_TARGET, Connection, Transport
from tokenwire_client._request import ChatParameters, Prompt, chat_request, only_model
from tokenwire_client._stream import StreamReader, StreamUpdate
from tokenwire_client.errors import client_errors

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from tokenwire.v1.models_pb2_grpc import ModelServiceAsyncStub
    from tokenwire.v1.tokens_pb2_grpc import TokenServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")


class AsyncClient:
    """Calls a Tokenwire server. May be shared by tasks, and by event loops one after the other.

    Close it in the loop that used it, or use it as an async context manager. Arguments and errors are `Client`'s.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        api_key: str | None = None,
        timeout_s: float | None = 600.0,
        transport: Transport = Transport(),  # noqa: B008 (frozen)
    ) -> None:
        self._connection = Connection(
            target=target, credentials=credentials, api_key=api_key, timeout_s=timeout_s, transport=transport
        )
        self._bound: dict[asyncio.AbstractEventLoop, _Bound] = {}
        self._default_model = ""

    async def chat(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatCompletion:
        """The whole answer."""
        return await self._call(
            self._stubs.chat.CreateChatCompletion, await self._request(prompt, parameters, timeout_s), timeout_s
        )

    async def stream(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> AsyncGenerator[StreamUpdate, None]:
        """The answer as it comes. Closing the generator cancels the call; `contextlib.aclosing` sees to that."""
        reader = StreamReader()
        request = await self._request(prompt, parameters, timeout_s)
        with client_errors():
            call = self._stubs.chat.StreamChatCompletion(
                request, timeout=self._connection.timeout(timeout_s), metadata=self._connection.metadata
            )
            try:
                async for event in call:
                    yield reader.take(event)
            finally:
                call.cancel()
            reader.end()

    async def completion(self, completion_id: str, *, timeout_s: float | None = None) -> StoredChatCompletion:
        """A completion that was generated with `store`."""
        request = GetChatCompletionRequest(completion_id=completion_id)
        return await self._call(self._stubs.chat.GetChatCompletion, request, timeout_s)

    async def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """The served models; none while the model is loading."""
        return list((await self._call(self._stubs.models.ListModels, ListModelsRequest(), timeout_s)).models)

    async def model(self, name: str | None = None, *, timeout_s: float | None = None) -> Model:
        """One served model; without a name, the only one."""
        return await self._call(
            self._stubs.models.GetModel, GetModelRequest(model=await self._model(name, timeout_s)), timeout_s
        )

    async def count_tokens(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> CountTokensResponse:
        """The prompt tokens that `chat` would be charged."""
        return await self._call(
            self._stubs.tokens.CountTokens, await self._request(prompt, parameters, timeout_s), timeout_s
        )

    async def render_prompt(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> RenderPromptResponse:
        """The prompt that `chat` would give to the model."""
        return await self._call(
            self._stubs.tokens.RenderPrompt, await self._request(prompt, parameters, timeout_s), timeout_s
        )

    async def tokenize(
        self, text: str, *, model: str | None = None, add_special_tokens: bool = False, timeout_s: float | None = None
    ) -> TokenizeResponse:
        """The tokens of a text."""
        request = TokenizeRequest(
            model=await self._model(model, timeout_s), text=text, add_special_tokens=add_special_tokens
        )
        return await self._call(self._stubs.tokens.Tokenize, request, timeout_s)

    async def detokenize(
        self,
        token_ids: Sequence[int],
        *,
        model: str | None = None,
        skip_special_tokens: bool = False,
        timeout_s: float | None = None,
    ) -> DetokenizeResponse:
        """The text of tokens."""
        request = DetokenizeRequest(
            model=await self._model(model, timeout_s), token_ids=token_ids, skip_special_tokens=skip_special_tokens
        )
        return await self._call(self._stubs.tokens.Detokenize, request, timeout_s)

    async def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """`SERVING`, `NOT_SERVING` or `UNKNOWN`: of a service, or of the server as a whole."""
        request = health_pb2.HealthCheckRequest(service=service)
        response = await self._call(self._stubs.health.Check, request, timeout_s)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))

    async def close(self) -> None:
        """Close this loop's channel; live calls are cancelled."""
        if bound := self._bound.pop(asyncio.get_running_loop(), None):
            await bound.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _request(
        self, prompt: Prompt, parameters: ChatParameters, timeout_s: float | None
    ) -> ChatCompletionRequest:
        request = chat_request(prompt, parameters)
        request.model = await self._model(request.model, timeout_s)
        return request

    async def _model(self, name: str | None, timeout_s: float | None) -> str:
        if name:
            return name
        if not self._default_model:
            self._default_model = only_model(
                await self._call(self._stubs.models.ListModels, ListModelsRequest(), timeout_s)
            )
        return self._default_model

    async def _call(
        self, method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout_s: float | None
    ) -> Response:
        with client_errors():
            return await method(
                request, timeout=self._connection.timeout(timeout_s), metadata=self._connection.metadata
            )

    @property
    def _stubs(self) -> "_Bound":
        loop = asyncio.get_running_loop()
        if loop not in self._bound:
            # A channel belongs to its loop, and dies with it.
            self._bound = {other: bound for other, bound in self._bound.items() if not other.is_closed()}
            self._bound[loop] = _bind(_open(self._connection))
        return self._bound[loop]


@dataclass(frozen=True, slots=True)
class _Bound:
    channel: grpc.aio.Channel
    chat: "ChatServiceAsyncStub"
    models: "ModelServiceAsyncStub"
    tokens: "TokenServiceAsyncStub"
    health: health_pb2_grpc.HealthStub


def _bind(channel: grpc.aio.Channel) -> _Bound:
    return _Bound(
        channel=channel,
        chat=ChatServiceStub(channel),
        models=ModelServiceStub(channel),
        tokens=TokenServiceStub(channel),
        health=health_pb2_grpc.HealthStub(channel),
    )


def _open(connection: Connection) -> grpc.aio.Channel:
    if connection.credentials is None:
        return grpc.aio.insecure_channel(connection.target, connection.options)
    return grpc.aio.secure_channel(connection.target, connection.credentials, connection.options)
