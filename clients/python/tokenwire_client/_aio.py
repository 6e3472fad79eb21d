"""The client for asyncio: one channel an event loop, made when the loop makes its first call."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionResponse,
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, Model
from tokenwire.v1.models_pb2_grpc import ModelServiceStub
from tokenwire.v1.operations_pb2 import GetLoadRequest, Load, WatchLoadRequest
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub
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
from tokenwire_client._course import CANCEL_TIMEOUT_S, Course, StreamRequest
from tokenwire_client._execution_policy import duration
from tokenwire_client._request import ChatParameters, Prompt, cancel_request, chat_request, identify, only_model
from tokenwire_client._stream import StreamUpdate
from tokenwire_client.errors import TokenwireClientError, client_errors

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from tokenwire.v1.models_pb2_grpc import ModelServiceAsyncStub
    from tokenwire.v1.operations_pb2_grpc import OperationsServiceAsyncStub
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
        resume: bool = False,
        transport: Transport = Transport(),  # noqa: B008 (frozen)
    ) -> None:
        self._connection = Connection(
            target=target,
            credentials=credentials,
            api_key=api_key,
            timeout_s=timeout_s,
            resume=resume,
            transport=transport,
        )
        self._bound: dict[asyncio.AbstractEventLoop, _Bound] = {}
        self._default_model = ""
        self._courses: dict[Course, asyncio.AbstractEventLoop] = {}

    async def chat(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatCompletion:
        """The whole answer."""
        request = identify(await self._request(prompt, parameters, timeout_s))
        return await self._call(self._stubs.chat.CreateChatCompletion, request, timeout_s)

    def stream(
        self,
        prompt: Prompt,
        *,
        timeout_s: float | None = None,
        resume: bool | None = None,
        **parameters: Unpack[ChatParameters],
    ) -> AsyncGenerator[StreamUpdate, None]:
        """The answer as it comes. Closing the generator cancels the call; `contextlib.aclosing` sees to that.

        `resume` as for `Client.stream`; to cancel the task is to leave the stream, too.
        """

        async def request() -> ChatCompletionRequest:
            return identify(await self._request(prompt, parameters, timeout_s))

        return self._follow(request, timeout_s=timeout_s, resume=resume)

    def resume(
        self,
        completion_id: str,
        *,
        after_sequence: int | None = None,
        timeout_s: float | None = None,
        resume: bool | None = None,
    ) -> AsyncGenerator[StreamUpdate, None]:
        """The events of a live or retained completion after one of them, or from its start; as `Client.resume`."""

        async def request() -> ResumeChatCompletionRequest:
            return ResumeChatCompletionRequest(completion_id=completion_id, after_sequence=after_sequence)

        return self._follow(request, timeout_s=timeout_s, resume=resume)

    async def cancel(
        self, completion_id: str | None = None, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> CancelChatCompletionResponse:
        """End a completion, named by its id or by that of its request. Harmless if it has ended."""
        request = cancel_request(completion_id, request_id)
        return await self._call(self._stubs.chat.CancelChatCompletion, request, timeout_s)

    async def completion(self, completion_id: str, *, timeout_s: float | None = None) -> StoredChatCompletion:
        """A completion that was generated with `store`, or is live or retained, as far as it has come: see `state`."""
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

    async def load(self, *, timeout_s: float | None = None) -> Load:
        """The load of the server."""
        return await self._call(self._stubs.operations.GetLoad, GetLoadRequest(), timeout_s)

    async def watch_load(self, *, interval_s: float = 1.0) -> AsyncGenerator[Load, None]:
        """The load of the server now and at every interval, until the generator is closed."""
        with client_errors():
            call = self._stubs.operations.WatchLoad(
                WatchLoadRequest(interval=duration(interval_s)), metadata=self._connection.metadata
            )
            try:
                async for load in call:
                    yield load
            finally:
                call.cancel()

    async def close(self) -> None:
        """Close this loop's channel; live calls are cancelled."""
        for course in [course for course, loop in self._courses.items() if loop is asyncio.get_running_loop()]:
            await self._leave(course)
        if bound := self._bound.pop(asyncio.get_running_loop(), None):
            await bound.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _follow(
        self, make_request: Callable[[], Awaitable[StreamRequest]], *, timeout_s: float | None, resume: bool | None
    ) -> AsyncGenerator[StreamUpdate, None]:
        course = Course(
            await make_request(),
            timeout_s=self._connection.timeout(timeout_s),
            resumes=self._connection.resume if resume is None else resume,
        )
        with client_errors():
            async with self._leaving(course):
                while True:
                    call = self._open_stream(course)
                    try:
                        async for event in call:
                            yield course.take(event)
                        course.end()
                        return
                    except grpc.RpcError as error:
                        await asyncio.sleep(course.resume_after_s(error))
                        if course.is_over:  # the client was closed
                            raise
                    finally:
                        call.cancel()

    @asynccontextmanager
    async def _leaving(self, course: Course) -> AsyncIterator[None]:
        self._courses[course] = asyncio.get_running_loop()
        try:
            yield
        finally:
            del self._courses[course]
            await self._leave(course)

    async def _leave(self, course: Course) -> None:
        if (target := course.leave()) is not None:
            with suppress(TokenwireClientError):  # whatever it is, nobody is there to be told
                await self._call(self._stubs.chat.CancelChatCompletion, target, CANCEL_TIMEOUT_S)

    def _open_stream(self, course: Course) -> "grpc.aio.UnaryStreamCall[Any, ChatCompletionEvent]":
        timeout_s, metadata = course.time_left_s, self._connection.metadata
        if isinstance(course.request, ChatCompletionRequest):
            return self._stubs.chat.StreamChatCompletion(course.request, timeout=timeout_s, metadata=metadata)
        return self._stubs.chat.ResumeChatCompletion(course.request, timeout=timeout_s, metadata=metadata)

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
    operations: "OperationsServiceAsyncStub"
    health: health_pb2_grpc.HealthStub


def _bind(channel: grpc.aio.Channel) -> _Bound:
    return _Bound(
        channel=channel,
        chat=ChatServiceStub(channel),
        models=ModelServiceStub(channel),
        tokens=TokenServiceStub(channel),
        operations=OperationsServiceStub(channel),
        health=health_pb2_grpc.HealthStub(channel),
    )


def _open(connection: Connection) -> grpc.aio.Channel:
    if connection.credentials is None:
        return grpc.aio.insecure_channel(connection.target, connection.options)
    return grpc.aio.secure_channel(connection.target, connection.credentials, connection.options)
