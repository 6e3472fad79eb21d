"""The chat service: what every transport calls."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from enum import Enum
from functools import partial

from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.caller import ANYONE, Caller
from tokenwire.chat.completions import Completions
from tokenwire.chat.description import describe_model
from tokenwire.chat.live.reader import OnSlow, ReaderLimits
from tokenwire.chat.live.retention import RetentionLimits
from tokenwire.chat.load import LoadMeter, ServiceLoad
from tokenwire.chat.lookup import ModelLookup
from tokenwire.chat.model import ServedModel
from tokenwire.chat.observer import CompletionObserver
from tokenwire.chat.preparation import prepare
from tokenwire.chat.store import CompletionStore
from tokenwire.chat.validation.limits import MAX_N
from tokenwire.chat.validation.rules import check_token_ids
from tokenwire.chat.validation.sizes import check_text, max_text_bytes
from tokenwire.engine.protocol import Engine, EngineState
from tokenwire.errors import InvalidRequestError
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    CancelChatCompletionResponse,
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.operations_pb2 import ServerState
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
    RECOVERING = "recovering"
    """The engine died and comes back: completions take longer."""
    FAILED = "failed"
    """The engine dies again and again."""
    DRAINING = "draining"

    @property
    def takes_requests(self) -> bool:
        """Whether a new completion has a chance."""
        return self in (ServiceState.SERVING, ServiceState.RECOVERING)


_OF_ENGINE = {EngineState.RECOVERING: ServiceState.RECOVERING, EngineState.FAILED: ServiceState.FAILED}


class ChatService:
    """Chat completions, models and tokens over one engine. Every error is a `TokenwireError`."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_queue: int,
        max_request_bytes: int,
        max_queue_tokens: int = 2_000_000,
        max_running: int = 64,
        max_stored: int = 1000,
        stored_for_s: float = 3600.0,
        retention: RetentionLimits = RetentionLimits(),  # noqa: B008 (frozen)
        readers: ReaderLimits = ReaderLimits(),  # noqa: B008
        observers: Sequence[CompletionObserver] = (),
        log_prompts: bool = False,
    ) -> None:
        """`max_queue` bounds the choices that run or wait at once, `max_queue_tokens` their tokens; `max_running` is
        the engine's; `max_request_bytes` is told in `Model.limits`; `max_stored` completions are kept for at most
        `stored_for_s` seconds."""
        max_n = min(MAX_N, max_queue)
        self._engine = engine
        self._start_s = 0.0
        self._meter = LoadMeter()
        self._queue = Queue(
            max_choices=max_queue,
            max_tokens=max_queue_tokens,
            max_running=max_running,
            delay_s=lambda: self._start_s if engine.state is EngineState.RECOVERING else 0.0,
        )
        self._models = ModelLookup(max_n=max_n, max_retain_s=retention.max_s)
        self._completions = Completions(
            engine,
            models=self._models,
            queue=self._queue,
            max_n=max_n,
            store=CompletionStore(max_count=max_stored, max_age_s=stored_for_s),
            retention=retention,
            readers=readers,
            observers=(self._meter, *observers),
            log_prompts=log_prompts,
        )
        self._describe = partial(
            describe_model,
            max_n=max_n,
            max_queue=max_queue,
            max_queue_tokens=max_queue_tokens,
            max_request_bytes=max_request_bytes,
            retention=retention,
            heartbeat_s=readers.heartbeat_s,
        )

    def open(self, model: ServedModel, *, start_s: float = 0.0) -> None:
        """Loading → serving. The start of the engine took `start_s` seconds; another one will take as long."""
        self._models.model = model
        self._start_s = start_s

    def drain(self, *, grace_s: float = 0.0) -> None:
        """Refuse new completions with `DrainingError`; live ones go on, and are told that they have `grace_s` s."""
        self._completions.drain(grace_s=grace_s)

    def cut_off(self) -> None:
        """Refuse new completions, and end all live ones with `DrainingError`."""
        self._completions.cut_off()

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        if self._completions.is_draining:
            return ServiceState.DRAINING
        if self._models.model is None:
            return ServiceState.LOADING
        return _OF_ENGINE.get(self._engine.state, ServiceState.SERVING)

    async def refusal(self) -> str | None:
        """Why new completions are not accepted now; None: they are."""
        return None if self.state.takes_requests else self.state.value

    @property
    def active(self) -> int:
        """Number of live completions."""
        return len(self._completions.registry.live)

    @property
    def load(self) -> ServiceLoad:
        """The load now."""
        engine = self._engine.load
        return ServiceLoad(
            state=ServerState.Value(f"SERVER_STATE_{self.state.name}"),
            running_choices=engine.running,
            waiting_choices=max(self._queue.choices.held - engine.running, 0),
            max_queued_choices=self._queue.choices.most,
            queued_tokens=self._queue.tokens.held,
            max_queued_tokens=self._queue.tokens.most,
            estimated_wait_s=self._completions.gate.wait_s(),
            tokens_per_second=self._meter.tokens.per_second,
            requests_per_second=self._meter.requests.per_second,
            engine=engine,
            engine_restarts=self._engine.num_restarts,
            live_completions=self.active,
            retained_completions=self._completions.registry.num_retained,
            retained_bytes=self._completions.registry.num_bytes,
            stored_completions=len(self._completions.store),
        )

    async def wait_idle(self) -> None:
        """Return when no completion is live."""
        await self._completions.registry.wait_idle()

    def stream(
        self, request: ChatCompletionRequest, *, caller: Caller = ANYONE, on_slow: OnSlow = lambda error: None
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """As `Completions.stream`."""
        return self._completions.stream(request, caller=caller, on_slow=on_slow)

    async def create(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> ChatCompletion:
        """Generate a completion and return it whole: the fold of `stream()`."""
        folder = StreamFolder()
        async with aclosing(self.stream(request, caller=caller)) as events:
            async for event in events:
                folder.add(event)
        return folder.completion

    def resume(
        self,
        request: ResumeChatCompletionRequest,
        *,
        caller: Caller = ANYONE,
        on_slow: OnSlow = lambda error: None,
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """As `Completions.resume`."""
        return self._completions.resume(request, caller=caller, on_slow=on_slow)

    async def cancel(
        self, request: CancelChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> CancelChatCompletionResponse:
        """As `Completions.cancel`."""
        return await self._completions.cancel(request, caller=caller)

    async def get_chat_completion(
        self, request: GetChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> StoredChatCompletion:
        """As `Completions.get`."""
        return self._completions.get(request, caller=caller)

    async def list_models(self, request: ListModelsRequest, *, caller: Caller = ANYONE) -> ListModelsResponse:
        """The served models that the caller may use; none while loading."""
        model = self._models.model
        if model is None or not caller.quota.allows(model.id):
            return ListModelsResponse()
        return ListModelsResponse(models=[self._describe(model)])

    async def get_model(self, request: GetModelRequest, *, caller: Caller = ANYONE) -> Model:
        """Describe one model."""
        return self._describe(self._models.named(request.model, caller))

    async def count_tokens(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> CountTokensResponse:
        """Count the prompt tokens of a chat request."""
        model = await self._models.valid(request, caller)
        prepared = await prepare(request, model=model, engine=self._engine)
        prompt_tokens = len(prepared.prompt.token_ids)
        return CountTokensResponse(
            prompt_tokens=prompt_tokens,
            context_length=model.info.context_length,
            available_completion_tokens=max(0, model.info.context_length - prompt_tokens),
        )

    async def render_prompt(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> RenderPromptResponse:
        """Show the prompt of a chat request, and the grammar of the answer."""
        prepared = await prepare(request, model=await self._models.valid(request, caller), engine=self._engine)
        return RenderPromptResponse(
            prompt=prepared.prompt.text, token_ids=prepared.prompt.token_ids, grammar=prepared.grammar or ""
        )

    async def tokenize(self, request: TokenizeRequest, *, caller: Caller = ANYONE) -> TokenizeResponse:
        """Turn text into tokens. In a thread: a long text takes seconds."""
        return await asyncio.to_thread(self._tokenize, request, caller)

    async def detokenize(self, request: DetokenizeRequest, *, caller: Caller = ANYONE) -> DetokenizeResponse:
        """Turn tokens into text, in a thread likewise."""
        return await asyncio.to_thread(self._detokenize, request, caller)

    def _tokenize(self, request: TokenizeRequest, caller: Caller) -> TokenizeResponse:
        model = self._models.named(request.model, caller)
        if violations := list(check_text("text", request.text, max_text_bytes(model.info.context_length))):
            raise InvalidRequestError(violations)
        tokenizer = model.tokenizer
        ids = tokenizer.encode_text(request.text, add_special_tokens=request.add_special_tokens)
        return TokenizeResponse(token_ids=ids, token_bytes=map(tokenizer.token_bytes, ids))

    def _detokenize(self, request: DetokenizeRequest, caller: Caller) -> DetokenizeResponse:
        model = self._models.named(request.model, caller)
        if violations := list(check_token_ids("token_ids", request.token_ids, model.info.vocabulary_size)):
            raise InvalidRequestError(violations)
        text = model.tokenizer.decode(request.token_ids, skip_special_tokens=request.skip_special_tokens)
        return DetokenizeResponse(text=text)
