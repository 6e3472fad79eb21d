"""The model that a request names, and whether the request is valid for it."""

import asyncio
from functools import partial

from tokenwire.chat.caller import Caller
from tokenwire.chat.model import ServedModel
from tokenwire.chat.preparation import LONG_REQUEST_BYTES
from tokenwire.chat.validation.request import MISSING_MODEL, validate
from tokenwire.chat.validation.sizes import max_text_bytes
from tokenwire.errors import ForbiddenError, InvalidRequestError, ModelLoadingError, ModelNotFoundError
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

RETRY_LOADING_AFTER_S = 2.0


class ModelLookup:
    """The served model, once it is loaded, for those who may use it."""

    def __init__(self, *, max_n: int, max_retain_s: float) -> None:
        """`max_n` choices and `max_retain_s` seconds of retention are the most that a request may ask for."""
        self.model: ServedModel | None = None
        self._max_n = max_n
        self._max_retain_s = max_retain_s

    def named(self, name: str, caller: Caller) -> ServedModel:
        """The model that a request names, if the caller may use it."""
        model = self.loaded()
        if not name:
            raise InvalidRequestError([MISSING_MODEL])
        if name != model.id:
            raise ModelNotFoundError(name)
        if not caller.quota.allows(name):
            raise ForbiddenError(f"the API key {caller.key_id!r} does not allow the model {name!r}")
        return model

    def loaded(self) -> ServedModel:
        """The model that is served."""
        if self.model is None:
            raise ModelLoadingError("the model is still loading", retry_after_s=RETRY_LOADING_AFTER_S)
        return self.model

    async def valid(self, request: ChatCompletionRequest, caller: Caller) -> ServedModel:
        """The model that a request names, once the request is found valid."""
        if self.model is None or request.model:
            self.named(request.model, caller)
        assert self.model is not None
        check = partial(
            validate,
            request,
            vocabulary_size=self.model.info.vocabulary_size,
            max_n=self._max_n,
            max_retain_s=self._max_retain_s,
            max_text_bytes=max_text_bytes(self.model.info.context_length),
        )
        if request.ByteSize() < LONG_REQUEST_BYTES:
            check()
        else:
            await asyncio.to_thread(check)
        return self.model
