"""The servicers of `tokenwire.v1`: each RPC is one call of the chat service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from tokenwire.chat.caller import CURRENT
from tokenwire.chat.live.reader import OnSlow
from tokenwire.chat.service import ChatService
from tokenwire.rpc.types import Context
from tokenwire.v1 import chat_pb2, chat_pb2_grpc, models_pb2, models_pb2_grpc, tokens_pb2, tokens_pb2_grpc


class ChatServicer(chat_pb2_grpc.ChatServiceServicer):
    """Chat completions."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def CreateChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> chat_pb2.ChatCompletion:
        return await self._service.create(request, caller=CURRENT.get())

    async def StreamChatCompletion(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> AsyncIterator[chat_pb2.ChatCompletionEvent]:
        async with aclosing(self._service.stream(request, caller=CURRENT.get(), on_slow=_cancel_call())) as events:
            async for event in events:
                yield event

    async def ResumeChatCompletion(  # noqa: N802
        self, request: chat_pb2.ResumeChatCompletionRequest, context: Context
    ) -> AsyncIterator[chat_pb2.ChatCompletionEvent]:
        async with aclosing(self._service.resume(request, caller=CURRENT.get(), on_slow=_cancel_call())) as events:
            async for event in events:
                yield event

    async def GetChatCompletion(  # noqa: N802
        self, request: chat_pb2.GetChatCompletionRequest, context: Context
    ) -> chat_pb2.StoredChatCompletion:
        return await self._service.get_chat_completion(request, caller=CURRENT.get())

    async def CancelChatCompletion(  # noqa: N802
        self, request: chat_pb2.CancelChatCompletionRequest, context: Context
    ) -> chat_pb2.CancelChatCompletionResponse:
        return await self._service.cancel(request, caller=CURRENT.get())


def _cancel_call() -> OnSlow:
    """Cancels the task of this call, with the error as its message: it may be stuck in a write. The interceptor sends
    the error."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancel


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """The served models."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        return await self._service.list_models(request, caller=CURRENT.get())

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Context) -> models_pb2.Model:  # noqa: N802
        return await self._service.get_model(request, caller=CURRENT.get())


class TokenServicer(tokens_pb2_grpc.TokenServiceServicer):
    """Tokens and prompts."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def CountTokens(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> tokens_pb2.CountTokensResponse:
        return await self._service.count_tokens(request, caller=CURRENT.get())

    async def RenderPrompt(  # noqa: N802
        self, request: chat_pb2.ChatCompletionRequest, context: Context
    ) -> tokens_pb2.RenderPromptResponse:
        return await self._service.render_prompt(request, caller=CURRENT.get())

    async def Tokenize(  # noqa: N802
        self, request: tokens_pb2.TokenizeRequest, context: Context
    ) -> tokens_pb2.TokenizeResponse:
        return await self._service.tokenize(request, caller=CURRENT.get())

    async def Detokenize(  # noqa: N802
        self, request: tokens_pb2.DetokenizeRequest, context: Context
    ) -> tokens_pb2.DetokenizeResponse:
        return await self._service.detokenize(request, caller=CURRENT.get())
