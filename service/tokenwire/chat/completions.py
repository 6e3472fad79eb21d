"""Completions: begun, attached to, resumed, cancelled, read again, and let go."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from functools import partial

from tokenwire.chat.admission.gate import Gate
from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.chat.call import note_completion
from tokenwire.chat.caller import Caller
from tokenwire.chat.completion import Acceptance
from tokenwire.chat.live.completion import LiveCompletion
from tokenwire.chat.live.event_log import EventLog
from tokenwire.chat.live.reader import OnSlow, ReaderLimits
from tokenwire.chat.live.registry import Entry, Registry
from tokenwire.chat.live.retention import Retention, RetentionLimits
from tokenwire.chat.lookup import ModelLookup
from tokenwire.chat.observer import CompletionObserver
from tokenwire.chat.opening import demand_of, open_completion
from tokenwire.chat.preparation import prepare
from tokenwire.chat.prompt_log import log_answer, log_prompt
from tokenwire.chat.quota_meter import Charge, QuotaMeter
from tokenwire.chat.store import CompletionStore
from tokenwire.chat.time_limits import TimeLimits
from tokenwire.chat.validation.rules import missing
from tokenwire.chat.validation.targets import check_cancel, check_resume
from tokenwire.engine.protocol import Engine
from tokenwire.errors import (
    CompletionCancelledError,
    CompletionNotFoundError,
    DrainingError,
    InvalidRequestError,
    ResumeWindowError,
)
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    CancelChatCompletionResponse,
    ChatCompletionEvent,
    ChatCompletionRequest,
    CompletionState,
    GetChatCompletionRequest,
    Heartbeat,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)

RETRY_AFTER_S = 1.0
"""Another server is found in about this time."""


class Completions:
    """All completions of a server, live, retained and stored. `registry` and `store` have the figures of them."""

    def __init__(
        self,
        engine: Engine,
        *,
        models: ModelLookup,
        queue: Queue,
        max_n: int,
        store: CompletionStore,
        retention: RetentionLimits,
        readers: ReaderLimits,
        observers: Sequence[CompletionObserver],
        log_prompts: bool,
    ) -> None:
        self.registry = Registry(max_bytes=retention.max_bytes)
        self.store = store
        self.gate = Gate(queue, load=lambda: engine.load)
        self._engine = engine
        self._models = models
        self._max_n = max_n
        self._retention = retention
        self._readers = readers
        self._observers = observers
        self._quotas = QuotaMeter()
        self._logs_prompts = log_prompts
        self._drains_until_s: float | None = None
        """On the monotonic clock; None: it does not drain."""

    @property
    def is_draining(self) -> bool:
        """Whether new completions are refused."""
        return self._drains_until_s is not None

    def drain(self, *, grace_s: float = 0.0) -> None:
        """Refuse new completions with `DrainingError`; live ones go on, and are told that they have `grace_s` s."""
        self._drains_until_s = time.monotonic() + grace_s
        for live in self.registry.live:
            live.beat()

    def cut_off(self) -> None:
        """Refuse new completions, and end all live ones with `DrainingError`."""
        if self._drains_until_s is None:
            self.drain()
        for live in self.registry.live:
            error = DrainingError("the server is shut down, and its grace time is over", retry_after_s=RETRY_AFTER_S)
            live.end(CompletionState.COMPLETION_STATE_FAILED, error)

    async def stream(
        self, request: ChatCompletionRequest, *, caller: Caller, on_slow: OnSlow
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Generate a completion, or attach to the one with the request's `request_id`. Errors raise at the first step;
        closing the generator ends the completion, unless it detaches. `on_slow` as for `LiveCompletion.read`."""
        live = await self.registry.attach_or(request, caller, lambda: self._begin(request, caller))
        with _noted(live):
            async with aclosing(live.read(on_slow=on_slow)) as events:
                async for event in events:
                    yield event

    async def resume(
        self,
        request: ResumeChatCompletionRequest,
        *,
        caller: Caller,
        on_slow: OnSlow,
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Go on with the stream of a live or retained completion after a sequence."""
        check_resume(request)
        live = self.registry.find(request.completion_id, caller).live
        after_sequence = request.after_sequence if request.HasField("after_sequence") else -1
        for observer in self._observers:
            observer.resumed()
        with _noted(live):
            async with aclosing(live.read(after_sequence, on_slow=on_slow)) as events:
                async for event in events:
                    yield event

    async def cancel(self, request: CancelChatCompletionRequest, *, caller: Caller) -> CancelChatCompletionResponse:
        """End a live completion; tell how an ended one has ended."""
        check_cancel(request)
        if request.WhichOneof("target") == "request_id":
            live = await self.registry.find_request(request.request_id, caller)
        else:
            live = self.registry.find(request.completion_id, caller).live
        live.cancel()
        return CancelChatCompletionResponse(completion_id=live.id, state=live.state, usage=live.completion.usage)

    def get(self, request: GetChatCompletionRequest, *, caller: Caller) -> StoredChatCompletion:
        """Read a completion: one that is live or retained, as far as it has come, or a stored one."""
        if not request.completion_id:
            raise InvalidRequestError([missing("completion_id")])
        try:
            return self.registry.find(request.completion_id, caller).read()
        except (CompletionNotFoundError, ResumeWindowError):
            return self.store.get(request.completion_id, owner=caller.key_id)

    async def _begin(self, request: ChatCompletionRequest, caller: Caller) -> LiveCompletion:
        """Let a completion live. Every refusal comes from here."""
        if self._drains_until_s is not None:
            raise DrainingError("the server is shutting down", retry_after_s=RETRY_AFTER_S)
        self._models.loaded()
        acceptance = Acceptance.now()
        ticket = self.gate.reserve(Tenant(caller.key_id, request.user), self._num_choices(request))
        charge: Charge | None = None
        try:
            charge = self._quotas.begin(caller)
            model = await self._models.valid(request, caller)
            prepared = await prepare(request, model=model, engine=self._engine)
            completion, generation = open_completion(
                acceptance, request, prepared, model=model, on_tokens=self._generated
            )
            limits = TimeLimits.of(request, caller, accepted_s=acceptance.accepted_s)
            ticket.enter(demand_of(generation, limits), begin_by_s=limits.begin_by_s)
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
            log=EventLog(on_growth=self.registry.grow),
            detaches=retention.detaches,
            keeps=retention.keeps,
            on_event=None if fold is None else fold.add,
            on_heartbeat=self._tell_drain,
            on_end=partial(self._ended, request=request, caller=caller, charge=charge, fold=fold),
            limits=self._readers,
            time_limit_s=limits.cut_s,
        )
        self.registry.add(Entry(live, request, retention.retain_s))
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
            self.store.add(fold.completion, owner=live.owner, metadata=request.metadata, user=request.user)
        self.registry.ended(live)

    def _tell_drain(self, heartbeat: Heartbeat) -> None:
        """Say when live completions are cut off, if they are."""
        if self._drains_until_s is not None:
            heartbeat.drain_in.FromMilliseconds(round(max(0.0, self._drains_until_s - time.monotonic()) * 1000))

    def _generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """Tokens of a completion have come."""
        for observer in self._observers:
            observer.generated(num_tokens, seconds_each)

    def _num_choices(self, request: ChatCompletionRequest) -> int:
        """Choices of a request that may not be valid: then it needs no more than the place to be found so."""
        return request.n if 1 <= request.n <= self._max_n else 1


def _outcome(live: LiveCompletion) -> str:
    """For the access log."""
    match live.log.error:
        case None:
            return ",".join(live.completion.finish_reasons)
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
