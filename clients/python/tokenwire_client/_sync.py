"""The client for ordinary code: one channel, calls that block."""

from collections.abc import Generator, Sequence
from typing import Self, TypeVar, Unpack

import grpc
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

Request = TypeVar("Request")
Response = TypeVar("Response")


class Client:
    """Calls a Tokenwire server. May be shared by threads. Close it, or use it as a context manager.

    `timeout_s` bounds every call that gives none of its own. Without `credentials` the connection is plain text.
    Every call raises `TokenwireClientError`; what it is tells the tree in `tokenwire_client.errors`.
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
        self._channel = _open(self._connection)
        self._chat = ChatServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._tokens = TokenServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._default_model = ""

    def chat(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> ChatCompletion:
        """The whole answer."""
        return self._call(self._chat.CreateChatCompletion, self._request(prompt, parameters, timeout_s), timeout_s)

    def stream(
        self, prompt: Prompt, *, timeout_s: float | None = None, **parameters: Unpack[ChatParameters]
    ) -> Generator[StreamUpdate, None, None]:
        """The answer as it comes. Closing the generator (or dropping it) cancels the call."""
        reader = StreamReader()
        request = self._request(prompt, parameters, timeout_s)
        with client_errors():
            call = self._chat.StreamChatCompletion(
                request, timeout=self._connection.timeout(timeout_s), metadata=self._connection.metadata
            )
            try:
                for event in call:
                    yield reader.take(event)
            finally:
                call.cancel()
            reader.end()

    def completion(self, completion_id: str, *, timeout_s: float | None = None) -> StoredChatCompletion:
        """A completion that was generated with `store`."""
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

    def close(self) -> None:
        """Close the channel; live calls are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

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
