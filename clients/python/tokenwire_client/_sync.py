"""The client for ordinary code: one channel, calls that block."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self, TypeVar, Unpack

import grpc
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

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """Calls a Tokenwire server. May be shared by threads. Close it, or use it as a context manager.

    `timeout_s` bounds every call that gives none of its own. Without `credentials` (see `tls`) the connection is plain
    text. `resume` is for streams that do not say: see `stream`.
    Every call raises `TokenwireClientError`; what it is tells the tree in `tokenwire_client.errors`.
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
        self._channel = _open(self._connection)
        self._chat = ChatServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._tokens = TokenServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._operations = OperationsServiceStub(self._channel)
        self._default_model = ""
        self._courses: set[Course] = set()

    def chat(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatCompletion:
        """The whole answer."""
        request = identify(self._request(prompt, parameters, timeout_s))
        return self._call(self._chat.CreateChatCompletion, request, timeout_s)

    def stream(
        self,
        prompt: Prompt,
        *,
        timeout_s: float | None = None,
        resume: bool | None = None,
        **parameters: Unpack[ChatParameters],
    ) -> Generator[StreamUpdate, None, None]:
        """The answer as it comes. Closing the generator (or dropping it) cancels the call.

        With `resume` the completion outlives a lost connection: the stream goes on where it was, until the completion
        is found to be gone, the server is not reached for a minute, or `timeout_s` is over. Closing the generator then
        sends a CancelChatCompletion.
        """

        def request() -> ChatCompletionRequest:
            return identify(self._request(prompt, parameters, timeout_s))

        return self._follow(request, timeout_s=timeout_s, resume=resume)

    def resume(
        self,
        completion_id: str,
        *,
        after_sequence: int | None = None,
        timeout_s: float | None = None,
        resume: bool | None = None,
    ) -> Generator[StreamUpdate, None, None]:
        """The events of a live or retained completion after one of them, or from its start; `resume` as for `stream`.

        With `after_sequence`, `StreamUpdate.completion` is what these events have of the answer.
        """
        request = ResumeChatCompletionRequest(completion_id=completion_id, after_sequence=after_sequence)
        return self._follow(lambda: request, timeout_s=timeout_s, resume=resume)

    def cancel(
        self, completion_id: str | None = None, *, request_id: str | None = None, timeout_s: float | None = None
    ) -> CancelChatCompletionResponse:
        """End a completion, named by its id or by that of its request. Harmless if it has ended."""
        return self._call(self._chat.CancelChatCompletion, cancel_request(completion_id, request_id), timeout_s)

    def completion(self, completion_id: str, *, timeout_s: float | None = None) -> StoredChatCompletion:
        """A completion that was generated with `store`, or is live or retained, as far as it has come: see `state`."""
        request = GetChatCompletionRequest(completion_id=completion_id)
        return self._call(self._chat.GetChatCompletion, request, timeout_s)

    def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """The served models; none while the model is loading."""
        return list(self._call(self._models.ListModels, ListModelsRequest(), timeout_s).models)

    def model(self, name: str | None = None, *, timeout_s: float | None = None) -> Model:
        """One served model; without a name, the only one."""
        return self._call(self._models.GetModel, GetModelRequest(model=self._model(name, timeout_s)), timeout_s)

    def count_tokens(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> CountTokensResponse:
        """The prompt tokens that `chat` would be charged."""
        return self._call(self._tokens.CountTokens, self._request(prompt, parameters, timeout_s), timeout_s)

    def render_prompt(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> RenderPromptResponse:
        """The prompt that `chat` would give to the model."""
        return self._call(self._tokens.RenderPrompt, self._request(prompt, parameters, timeout_s), timeout_s)

    def tokenize(
        self, text: str, *, model: str | None = None, add_special_tokens: bool = False, timeout_s: float | None = None
    ) -> TokenizeResponse:
        """The tokens of a text."""
        request = TokenizeRequest(model=self._model(model, timeout_s), text=text, add_special_tokens=add_special_tokens)
        return self._call(self._tokens.Tokenize, request, timeout_s)

    def detokenize(
        self,
        token_ids: Sequence[int],
        *,
        model: str | None = None,
        skip_special_tokens: bool = False,
        timeout_s: float | None = None,
    ) -> DetokenizeResponse:
        """The text of tokens."""
        request = DetokenizeRequest(
            model=self._model(model, timeout_s), token_ids=token_ids, skip_special_tokens=skip_special_tokens
        )
        return self._call(self._tokens.Detokenize, request, timeout_s)

    def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """`SERVING`, `NOT_SERVING` or `UNKNOWN`: of a service, or of the server as a whole."""
        request = health_pb2.HealthCheckRequest(service=service)
        response = self._call(self._health.Check, request, timeout_s)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))

    def load(self, *, timeout_s: float | None = None) -> Load:
        """The load of the server."""
        return self._call(self._operations.GetLoad, GetLoadRequest(), timeout_s)

    def watch_load(self, *, interval_s: float = 1.0) -> Generator[Load, None, None]:
        """The load of the server now and at every interval, until the generator is closed."""
        with client_errors():
            call = self._operations.WatchLoad(
                WatchLoadRequest(interval=duration(interval_s)), metadata=self._connection.metadata
            )
            try:
                yield from call
            finally:
                call.cancel()

    def close(self) -> None:
        """Close the channel; live calls are cancelled."""
        for course in list(self._courses):
            self._leave(course)
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _follow(
        self, make_request: Callable[[], StreamRequest], *, timeout_s: float | None, resume: bool | None
    ) -> Generator[StreamUpdate, None, None]:
        course = Course(
            make_request(),
            timeout_s=self._connection.timeout(timeout_s),
            resumes=self._connection.resume if resume is None else resume,
        )
        with client_errors(), self._leaving(course):
            while True:
                call = self._open_stream(course)
                try:
                    for event in call:
                        yield course.take(event)
                    course.end()
                    return
                except grpc.RpcError as error:
                    time.sleep(course.resume_after_s(error))
                    if course.is_over:  # the client was closed
                        raise
                finally:
                    call.cancel()

    @contextmanager
    def _leaving(self, course: Course) -> Iterator[None]:
        self._courses.add(course)
        try:
            yield
        finally:
            self._courses.discard(course)
            self._leave(course)

    def _leave(self, course: Course) -> None:
        if (target := course.leave()) is not None:
            with suppress(TokenwireClientError):  # whatever it is, nobody is there to be told
                self._call(self._chat.CancelChatCompletion, target, CANCEL_TIMEOUT_S)

    def _open_stream(self, course: Course) -> "grpc._CallIterator[ChatCompletionEvent]":
        timeout_s, metadata = course.time_left_s, self._connection.metadata
        if isinstance(course.request, ChatCompletionRequest):
            return self._chat.StreamChatCompletion(course.request, timeout=timeout_s, metadata=metadata)
        return self._chat.ResumeChatCompletion(course.request, timeout=timeout_s, metadata=metadata)

    def _request(self, prompt: Prompt, parameters: ChatParameters, timeout_s: float | None) -> ChatCompletionRequest:
        request = chat_request(prompt, parameters)
        request.model = self._model(request.model, timeout_s)
        return request

    def _model(self, name: str | None, timeout_s: float | None) -> str:
        if name:
            return name
        if not self._default_model:
            self._default_model = only_model(self._call(self._models.ListModels, ListModelsRequest(), timeout_s))
        return self._default_model

    def _call(
        self, method: "grpc.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout_s: float | None
    ) -> Response:
        with client_errors():
            return method(request, timeout=self._connection.timeout(timeout_s), metadata=self._connection.metadata)


def _open(connection: Connection) -> grpc.Channel:
    if connection.credentials is None:
        return grpc.insecure_channel(connection.target, connection.options)
    return grpc.secure_channel(connection.target, connection.credentials, connection.options)
