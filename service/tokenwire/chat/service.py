"""The chat service: what every transport calls."""

from collections.abc import AsyncGenerator
from enum import Enum

from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import Engine
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, ChatCompletionRequest
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.tokens_pb2 import (
    CountTokensResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    RenderPromptResponse,
    TokenizeRequest,
    TokenizeResponse,
)


class ServiceState(Enum):
    """Where the service is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class ChatService:
    """Chat completions, models and tokens over one engine. Every error is a `TokenwireError`."""

    def __init__(self, engine: Engine, *, max_queue: int, max_request_bytes: int) -> None:
        """`max_queue` bounds the choices that run or wait at once; `max_request_bytes` is only told in `Model.limits`."""

    def open(self, model: ServedModel) -> None:
        """Loading → serving."""
        raise NotImplementedError

    def drain(self) -> None:
        """Refuse new completions with `DrainingError`; live ones go on."""
        raise NotImplementedError

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        raise NotImplementedError

    @property
    def active(self) -> int:
        """Number of live completions."""
        raise NotImplementedError

    async def wait_idle(self) -> None:
        """Return when no completion is live."""
        raise NotImplementedError

    def stream(self, request: ChatCompletionRequest) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Generate a completion. Errors raise at the first step; closing the generator frees everything."""
        raise NotImplementedError

    async def create(self, request: ChatCompletionRequest) -> ChatCompletion:
        """Generate a completion and return it whole: the fold of `stream()`."""
        raise NotImplementedError

    def list_models(self, request: ListModelsRequest) -> ListModelsResponse:
        """The served models; none while loading."""
        raise NotImplementedError

    def get_model(self, request: GetModelRequest) -> Model:
        """Describe one model."""
        raise NotImplementedError

    def count_tokens(self, request: ChatCompletionRequest) -> CountTokensResponse:
        """Count the prompt tokens of a chat request."""
        raise NotImplementedError

    def render_prompt(self, request: ChatCompletionRequest) -> RenderPromptResponse:
        """Show the prompt of a chat request."""
        raise NotImplementedError

    def tokenize(self, request: TokenizeRequest) -> TokenizeResponse:
        """Turn text into tokens."""
        raise NotImplementedError

    def detokenize(self, request: DetokenizeRequest) -> DetokenizeResponse:
        """Turn tokens into text."""
        raise NotImplementedError
