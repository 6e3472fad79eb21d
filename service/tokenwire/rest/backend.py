"""What the REST layer stands on: the chat service of this process, or one behind gRPC."""

from collections.abc import AsyncGenerator
from typing import Protocol

from tokenwire.chat.caller import Caller
from tokenwire.chat.live.reader import OnSlow
from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.tokens_pb2 import (
    CountTokensResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    RenderPromptResponse,
    TokenizeRequest,
    TokenizeResponse,
)


class ChatBackend(Protocol):
    """The RPCs of the contract that REST has a form of. Every error is a `TokenwireError`."""

    def stream(
        self, request: ChatCompletionRequest, *, caller: Caller, on_slow: OnSlow
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """StreamChatCompletion. Closing it ends the call. `on_slow` is told when the reader is cut off for its pace."""

    async def create(self, request: ChatCompletionRequest, *, caller: Caller) -> ChatCompletion:
        """CreateChatCompletion."""

    async def get_chat_completion(self, request: GetChatCompletionRequest, *, caller: Caller) -> StoredChatCompletion:
        """GetChatCompletion."""

    async def list_models(self, request: ListModelsRequest, *, caller: Caller) -> ListModelsResponse:
        """ListModels."""

    async def get_model(self, request: GetModelRequest, *, caller: Caller) -> Model:
        """GetModel."""

    async def count_tokens(self, request: ChatCompletionRequest, *, caller: Caller) -> CountTokensResponse:
        """CountTokens."""

    async def render_prompt(self, request: ChatCompletionRequest, *, caller: Caller) -> RenderPromptResponse:
        """RenderPrompt."""

    async def tokenize(self, request: TokenizeRequest, *, caller: Caller) -> TokenizeResponse:
        """Tokenize."""

    async def detokenize(self, request: DetokenizeRequest, *, caller: Caller) -> DetokenizeResponse:
        """Detokenize."""

    async def refusal(self) -> str | None:
        """Why new completions are not accepted now, in a word (`loading`); None: they are."""
