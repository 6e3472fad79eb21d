"""The chat service: what every transport calls."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from enum import Enum
from functools import partial

from tokenwire.chat.admission.gate import Gate
from tokenwire.chat.admission.place import Demand
from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.chat.call import note_completion
from tokenwire.chat.caller import ANYONE, Caller
from tokenwire.chat.completion import Acceptance, Completion
from tokenwire.chat.description import describe_model
from tokenwire.chat.live.completion import LiveCompletion
from tokenwire.chat.live.event_log import EventLog
from tokenwire.chat.live.reader import OnSlow, ReaderLimits
from tokenwire.chat.live.registry import Entry, Registry
from tokenwire.chat.live.retention import Retention, RetentionLimits
from tokenwire.chat.load import LoadMeter, ServiceLoad
from tokenwire.chat.model import ServedModel
from tokenwire.chat.observer import CompletionObserver
from tokenwire.chat.parameters import effective_parameters, priority, sampling_params, service_tier
from tokenwire.chat.preparation import LONG_REQUEST_BYTES, Prepared, prepare
from tokenwire.chat.prompt_log import log_answer, log_prompt
from tokenwire.chat.quota_meter import Charge, QuotaMeter
from tokenwire.chat.store import CompletionStore
from tokenwire.chat.time_limits import TimeLimits
from tokenwire.chat.validation.limits import MAX_N, MAX_TOKEN_IDS
from tokenwire.chat.validation.request import MISSING_MODEL, check_token_id, validate
from tokenwire.chat.validation.rules import check_count, missing
from tokenwire.chat.validation.sizes import check_text, max_text_bytes
from tokenwire.chat.validation.targets import check_cancel, check_resume
from tokenwire.engine.protocol import Engine, EngineState, GenerationRequest
from tokenwire.errors import (
    CompletionCancelledError,
    CompletionNotFoundError,
    ConstraintFailedError,
    DrainingError,
    EngineFaultError,
    ForbiddenError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    ResumeWindowError,
)
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    CancelChatCompletionResponse,
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    CompletionState,
    GetChatCompletionRequest,
    Heartbeat,
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

RETRY_AFTER_S = 1.0
"""A place in the queue is free again, or another server found, in about this time."""

RETRY_LOADING_AFTER_S = 2.0


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
        self._engine = engine
        self._retention = retention
        self._readers = readers
        self._meter = LoadMeter()
        self._observers = (self._meter, *observers)
        self._registry = Registry(max_bytes=retention.max_bytes)
        self._store = CompletionStore(max_count=max_stored, max_age_s=stored_for_s)
        self._start_s = 0.0
        self._queue = Queue(
            max_choices=max_queue,
            max_tokens=max_queue_tokens,
            max_running=max_running,
            delay_s=lambda: self._start_s if engine.state is EngineState.RECOVERING else 0.0,
        )
        self._quotas = QuotaMeter()
        self._logs_prompts = log_prompts
        self._gate = Gate(self._queue, load=lambda: engine.load)
        self._max_request_bytes = max_request_bytes
        self._max_n = min(MAX_N, max_queue)
        self._model: ServedModel | None = None
        self._drains_until_s: float | None = None
        """On the monotonic clock; None: it does not drain."""

    def open(self, model: ServedModel, *, start_s: float = 0.0) -> None:
        """Loading → serving. The start of the engine took `start_s` seconds; another one will take as long."""
        self._model = model
        self._start_s = start_s

    def drain(self, *, grace_s: float = 0.0) -> None:
        """Refuse new completions with `DrainingError`; live ones go on, and are told that they have `grace_s` s."""
        self._drains_until_s = time.monotonic() + grace_s
        for live in self._registry.live:
            live.beat()

    def cut_off(self) -> None:
        """Refuse new completions, and end all live ones with `DrainingError`."""
        if self._drains_until_s is None:
            self.drain()
        for live in self._registry.live:
            error = DrainingError("the server is shut down, and its grace time is over", retry_after_s=RETRY_AFTER_S)
            live.end(CompletionState.COMPLETION_STATE_FAILED, error)

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        if self._drains_until_s is not None:
            return ServiceState.DRAINING
        if self._model is None:
            return ServiceState.LOADING
        return _OF_ENGINE.get(self._engine.state, ServiceState.SERVING)

    @property
    def active(self) -> int:
        """Number of live completions."""
        return len(self._registry.live)

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
            estimated_wait_s=self._gate.wait_s(),
            tokens_per_second=self._meter.tokens.per_second,
            requests_per_second=self._meter.requests.per_second,
            engine=engine,
            engine_restarts=self._engine.num_restarts,
            live_completions=self.active,
            retained_completions=self._registry.num_retained,
            retained_bytes=self._registry.num_bytes,
            stored_completions=len(self._store),
        )

    async def wait_idle(self) -> None:
        """Return when no completion is live."""
        await self._registry.wait_idle()

    async def stream(
        self, request: ChatCompletionRequest, *, caller: Caller = ANYONE, on_slow: OnSlow = lambda error: None
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Generate a completion, or attach to the one with the request's `request_id`. Errors raise at the first step;
        closing the generator ends the completion, unless it detaches. `on_slow` as for `LiveCompletion.read`."""
        live = await self._registry.attach_or(request, caller, lambda: self._begin(request, caller))
        with _noted(live):
            async with aclosing(live.read(on_slow=on_slow)) as events:
                async for event in events:
                    yield event

    async def create(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> ChatCompletion:
        """Generate a completion and return it whole: the fold of `stream()`."""
        folder = StreamFolder()
        async with aclosing(self.stream(request, caller=caller)) as events:
            async for event in events:
                folder.add(event)
        return folder.completion

    async def resume(
        self,
        request: ResumeChatCompletionRequest,
        *,
        caller: Caller = ANYONE,
        on_slow: OnSlow = lambda error: None,
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Go on with the stream of a live or retained completion after a sequence."""
        check_resume(request)
        live = self._registry.find(request.completion_id, caller).live
        after_sequence = request.after_sequence if request.HasField("after_sequence") else -1
        for observer in self._observers:
            observer.resumed()
        with _noted(live):
            async with aclosing(live.read(after_sequence, on_slow=on_slow)) as events:
                async for event in events:
                    yield event

    async def cancel(
        self, request: CancelChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> CancelChatCompletionResponse:
        """End a live completion; tell how an ended one has ended."""
        check_cancel(request)
        if request.WhichOneof("target") == "request_id":
            live = await self._registry.find_request(request.request_id, caller)
        else:
            live = self._registry.find(request.completion_id, caller).live
        live.cancel()
        return CancelChatCompletionResponse(completion_id=live.id, state=live.state, usage=live.completion.usage)

    def get_chat_completion(
        self, request: GetChatCompletionRequest, *, caller: Caller = ANYONE
    ) -> StoredChatCompletion:
        """Read a completion: one that is live or retained, as far as it has come, or a stored one."""
        if not request.completion_id:
            raise InvalidRequestError([missing("completion_id")])
        try:
            return self._registry.find(request.completion_id, caller).read()
        except (CompletionNotFoundError, ResumeWindowError):
            return self._store.get(request.completion_id, owner=caller.key_id)

    async def _begin(self, request: ChatCompletionRequest, caller: Caller) -> LiveCompletion:
        """Let a completion live. Every refusal comes from here."""
        if self._drains_until_s is not None:
            raise DrainingError("the server is shutting down", retry_after_s=RETRY_AFTER_S)
        self._loaded()
        acceptance = Acceptance.now()
        ticket = self._gate.reserve(Tenant(caller.key_id, request.user), self._num_choices(request))
        charge: Charge | None = None
        try:
            charge = self._quotas.begin(caller)
            model = await self._valid(request, caller)
            prepared = await prepare(request, model=model, engine=self._engine)
            completion, generation = _start(acceptance, request, prepared, model=model, on_tokens=self._generated)
            limits = TimeLimits.of(request, caller, accepted_s=acceptance.accepted_s)
            ticket.enter(_demand(generation, limits), begin_by_s=limits.begin_by_s)
        except BaseException:
            ticket.release()
            if charge is not None:
                charge.end()
            raise
        charge.add_tokens(len(prepared.prompt.token_ids))
        if self._logs_prompts:
            log_prompt(acceptance.id, prepared.prompt.text)
        retention = Retention.of(request, self._retention)
        fold = StreamFolder() if request.store or self._logs_prompts else None
        live = LiveCompletion(
            completion,
            generation,
            owner=caller.key_id,
            engine=self._engine,
            place=ticket,
            log=EventLog(on_growth=self._registry.grow),
            detaches=retention.detaches,
            keeps=retention.keeps,
            on_event=None if fold is None else fold.add,
            on_heartbeat=self._tell_drain,
            on_end=partial(self._ended, request=request, caller=caller, charge=charge, fold=fold),
            limits=self._readers,
            time_limit_s=limits.cut_s,
        )
        self._registry.add(Entry(live, request, retention.retain_s))
        live.begin()
        if live.log.error is not None:
            raise live.log.error
        return live

    def _ended(
        self,
        live: LiveCompletion,
        *,
        request: ChatCompletionRequest,
        caller: Caller,
        charge: Charge,
        fold: StreamFolder | None,
    ) -> None:
        """A completion has ended, however."""
        charge.add_tokens(live.completion.usage.completion_tokens)
        charge.end()
        live.completion.log(_outcome(live))
        state = CompletionState.Name(live.state).removeprefix("COMPLETION_STATE_").lower()
        reason = "" if live.log.error is None else live.log.error.reason_name
        record = live.completion.record(caller, outcome=state, reason=reason)
        for observer in self._observers:
            observer.ended(record)
        if fold is not None and self._logs_prompts:
            log_answer(fold.completion)
        if fold is not None and request.store and live.state == CompletionState.COMPLETION_STATE_COMPLETED:
            # Before the caller has the last event: it may ask at once, and never come back for more.
            self._store.add(fold.completion, owner=live.owner, metadata=request.metadata, user=request.user)
        self._registry.ended(live)

    def _tell_drain(self, heartbeat: Heartbeat) -> None:
        """Say when live completions are cut off, if they are."""
        if self._drains_until_s is not None:
            heartbeat.drain_in.FromMilliseconds(round(max(0.0, self._drains_until_s - time.monotonic()) * 1000))

    def _generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """Tokens of a completion have come."""
        for observer in self._observers:
            observer.generated(num_tokens, seconds_each)

    def list_models(self, request: ListModelsRequest, *, caller: Caller = ANYONE) -> ListModelsResponse:
        """The served models that the caller may use; none while loading."""
        model = self._model
        if model is None or not caller.quota.allows(model.id):
            return ListModelsResponse()
        return ListModelsResponse(models=[self._describe(model)])

    def get_model(self, request: GetModelRequest, *, caller: Caller = ANYONE) -> Model:
        """Describe one model."""
        return self._describe(self._named(request.model, caller))

    async def count_tokens(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> CountTokensResponse:
        """Count the prompt tokens of a chat request."""
        model = await self._valid(request, caller)
        prepared = await prepare(request, model=model, engine=self._engine)
        prompt_tokens = len(prepared.prompt.token_ids)
        return CountTokensResponse(
            prompt_tokens=prompt_tokens,
            context_length=model.info.context_length,
            available_completion_tokens=max(0, model.info.context_length - prompt_tokens),
        )

    async def render_prompt(self, request: ChatCompletionRequest, *, caller: Caller = ANYONE) -> RenderPromptResponse:
        """Show the prompt of a chat request, and the grammar of the answer."""
        prepared = await prepare(request, model=await self._valid(request, caller), engine=self._engine)
        return RenderPromptResponse(
            prompt=prepared.prompt.text, token_ids=prepared.prompt.token_ids, grammar=prepared.grammar or ""
        )

    def tokenize(self, request: TokenizeRequest, *, caller: Caller = ANYONE) -> TokenizeResponse:
        """Turn text into tokens."""
        model = self._named(request.model, caller)
        if violations := list(check_text("text", request.text, max_text_bytes(model.info.context_length))):
            raise InvalidRequestError(violations)
        tokenizer = model.tokenizer
        ids = tokenizer.encode_text(request.text, add_special_tokens=request.add_special_tokens)
        return TokenizeResponse(token_ids=ids, token_bytes=map(tokenizer.token_bytes, ids))

    def detokenize(self, request: DetokenizeRequest, *, caller: Caller = ANYONE) -> DetokenizeResponse:
        """Turn tokens into text."""
        model = self._named(request.model, caller)
        size = model.info.vocabulary_size
        violations = [
            *check_count("token_ids", len(request.token_ids), MAX_TOKEN_IDS, "token ids"),
            *(
                violation
                for index, token_id in enumerate(request.token_ids[:MAX_TOKEN_IDS])
                for violation in check_token_id(f"token_ids[{index}]", token_id, size)
            ),
        ]
        if violations:
            raise InvalidRequestError(violations)
        text = model.tokenizer.decode(request.token_ids, skip_special_tokens=request.skip_special_tokens)
        return DetokenizeResponse(text=text)

    def _named(self, name: str, caller: Caller) -> ServedModel:
        """The model that a request names, if the caller may use it."""
        model = self._loaded()
        if not name:
            raise InvalidRequestError([MISSING_MODEL])
        if name != model.id:
            raise ModelNotFoundError(name)
        if not caller.quota.allows(name):
            raise ForbiddenError(f"the API key {caller.key_id!r} does not allow the model {name!r}")
        return model

    def _loaded(self) -> ServedModel:
        """The model that is served."""
        if self._model is None:
            raise ModelLoadingError("the model is still loading", retry_after_s=RETRY_LOADING_AFTER_S)
        return self._model

    def _num_choices(self, request: ChatCompletionRequest) -> int:
        """Choices of a request that may not be valid: then it needs no more than the place to be found so."""
        return request.n if 1 <= request.n <= self._max_n else 1

    async def _valid(self, request: ChatCompletionRequest, caller: Caller) -> ServedModel:
        """The model that a request names, once the request is found valid."""
        if self._model is None or request.model:
            self._named(request.model, caller)
        assert self._model is not None
        check = partial(
            validate,
            request,
            vocabulary_size=self._model.info.vocabulary_size,
            max_n=self._max_n,
            max_retain_s=self._retention.max_s,
            max_text_bytes=max_text_bytes(self._model.info.context_length),
        )
        if request.ByteSize() < LONG_REQUEST_BYTES:
            check()
        else:
            await asyncio.to_thread(check)
        return self._model

    def _describe(self, model: ServedModel) -> Model:
        return describe_model(
            model,
            max_n=self._max_n,
            max_queue=self._queue.choices.most,
            max_queue_tokens=self._queue.tokens.most,
            max_request_bytes=self._max_request_bytes,
            retention=self._retention,
            heartbeat_s=self._readers.heartbeat_s,
        )


def _outcome(live: LiveCompletion) -> str:
    """For the access log."""
    match live.log.error:
        case None:
            return ",".join(live.completion.finish_reasons)
        case ConstraintFailedError():
            return "constraint failed"
        case EngineFaultError():
            return "engine fault"
        case CompletionCancelledError():
            return "cancelled"
        case error:
            return error.reason_name.lower().replace("_", " ")


@contextmanager
def _noted(live: LiveCompletion) -> Iterator[None]:
    """Note in the end what the call that is being handled got of a completion."""
    try:
        yield
    finally:
        usage = live.completion.usage
        note_completion(live.id, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _start(
    acceptance: Acceptance,
    request: ChatCompletionRequest,
    prepared: Prepared,
    *,
    model: ServedModel,
    on_tokens: Callable[[int, float | None], None],
) -> tuple[Completion, GenerationRequest]:
    """The two sides of a completion: what the caller gets, and what the engine is asked."""
    prompt = prepared.prompt
    parameters = effective_parameters(
        request, prompt_tokens=len(prompt.token_ids), context_length=model.info.context_length
    )
    completion = Completion(
        acceptance,
        request,
        parameters=parameters,
        model=model,
        prompt_token_ids=prompt.token_ids,
        form=prepared.form,
        service_tier=service_tier(request),
        on_tokens=on_tokens,
    )
    generation = GenerationRequest(
        acceptance.id,
        prompt.token_ids,
        sampling_params(request, parameters, grammar=prepared.grammar),
        parameters.n,
        priority=priority(request),
        prompt_logprobs=request.prompt_logprobs if request.HasField("prompt_logprobs") else None,
    )
    return completion, generation


def _demand(generation: GenerationRequest, limits: TimeLimits) -> Demand:
    """What the queue is told of a request."""
    return Demand(
        prompt_tokens=len(generation.prompt_token_ids),
        max_tokens=generation.sampling.max_tokens,
        priority=generation.priority,
        deadline_s=limits.deadline_s,
    )
