"""An engine that outlives its processes: when one dies or hangs, another one takes up the live requests where they are.

Of each live request the front end has the tokens that its engine gave, and the next engine goes on behind them as after
a preemption. Noise is a hash of seed and position, so in float32 the answer is that of an unbroken run. What an engine
computed and did not give is computed again; nothing is given twice.

Who is taken up when, and which request is to blame, is said in `quarantine`; when an engine is started again and when
that is given up, in `restarts`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenwire.engine.client import PROGRAM, EngineProcess
from tokenwire.engine.generation import LiveGeneration
from tokenwire.engine.grammar.checker import GrammarChecker
from tokenwire.engine.protocol import (
    Command,
    EngineInfo,
    EngineLoad,
    EngineOptions,
    EngineStartError,
    EngineState,
    GenerationRequest,
    Preempt,
    Progress,
    ReceivedStep,
    SequenceOutput,
    SetVocabulary,
    Submit,
    Vocabulary,
)
from tokenwire.engine.quarantine import find_culprit, next_up
from tokenwire.engine.restarts import FaultPolicy, Restarts
from tokenwire.engine.turns import Turns
from tokenwire.errors import EngineFaultError

_log = logging.getLogger(__name__)

_LOOKS = 16
"""How often the watchdog looks in its time. It counts looks: a front end that stood still itself blames nobody."""
_LONGEST_STEPS = 4
"""Steps as long as one can be, by the engine's own estimate, that the watchdog waits beside its time."""
_START_FACTOR = 10
"""A restart may take so many times as long as the first start: its memory may have been swapped out."""

_STOPPED = "the engine was stopped"
_DIED_AGAIN = "the engine died again and again"
_CULPRIT = "the engine died each time it worked on this request"


@dataclass(frozen=True, slots=True)
class _First:
    """What the first start gave, which the later ones must give as well."""

    info: EngineInfo
    seconds: float


class SupervisedEngine:
    """Implements `tokenwire.engine.protocol.Engine`."""

    def __init__(
        self,
        options: EngineOptions,
        *,
        policy: FaultPolicy = FaultPolicy(),  # noqa: B008 (frozen)
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`program` is what Python runs as the engine: see `EngineProcess`."""
        self._options = options
        self._policy = policy
        self._program = program
        self._restarts = Restarts(policy)
        self._num_restarts = 0
        self._state = EngineState.STARTING
        self._state_changed = asyncio.Event()
        self._is_stopped = False
        self._process = self._make_process()
        self._is_up = False
        """Whether the process takes requests."""
        self._num_frames = 0
        self._first: _First | None = None
        self._supervising: asyncio.Task[None] | None = None
        self._generations: dict[str, LiveGeneration] = {}
        self._vocabulary: Vocabulary | None = None
        self._checker: GrammarChecker | None = None
        self._load = EngineLoad()
        self._turns = Turns()
        self._load_changed = asyncio.Event()

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        """As `Engine.start`: the first process is not tried twice."""
        now = asyncio.get_running_loop().time
        begun_s = now()
        info = await self._process.start(on_progress)
        self._first = _First(info, now() - begun_s)
        self._take_into_service()
        self._supervising = asyncio.create_task(self._supervise(self._first))
        return info

    async def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """As `Engine.set_vocabulary`. Raises `EngineStartError` if the process that checks grammars does not start."""
        self._vocabulary = vocabulary
        if self._is_up:
            self._process.send(SetVocabulary(vocabulary))
        checker = GrammarChecker(vocabulary)
        await checker.start()
        self._checker = checker

    async def check_grammar(self, grammar: str) -> None:
        """As `Engine.check_grammar`. Raises `EngineFaultError`, too, before `set_vocabulary` and after `stop`."""
        if self._checker is None or self._is_stopped:
            raise EngineFaultError(_STOPPED)
        await self._checker.check(grammar)

    def generate(self, request: GenerationRequest) -> LiveGeneration:
        """As `Engine.generate`."""
        if self._is_stopped or self._state is EngineState.FAILED:
            message = _STOPPED if self._is_stopped else _DIED_AGAIN
            raise EngineFaultError(message, completion_id=request.request_id)
        generation = LiveGeneration(request, send=self._process_send, forget=self._forget, turns=self._turns)
        self._generations[request.request_id] = generation
        if self._state is EngineState.RUNNING:
            self._submit(generation)
        else:
            self._take_up()
        return generation

    @property
    def load(self) -> EngineLoad:
        """The figures of the newest step frame."""
        return self._load

    async def wait_for_load(self, condition: Callable[[EngineLoad], bool]) -> EngineLoad:
        """Wait for a step frame whose figures meet the condition. Raises `EngineFaultError` if it is stopped."""
        while not condition(self._load):
            if self._is_stopped:
                raise EngineFaultError(_STOPPED)
            await self._load_changed.wait()
        return self._load

    @property
    def state(self) -> EngineState:
        """As `Engine.state`."""
        return self._state

    async def wait_for_state(self, condition: Callable[[EngineState], bool]) -> EngineState:
        """As `Engine.wait_for_state`."""
        while not condition(self._state):
            await self._state_changed.wait()
        return self._state

    @property
    def num_restarts(self) -> int:
        """As `Engine.num_restarts`."""
        return self._num_restarts

    def preempt(self) -> None:
        """Preempt every running sequence. For tests."""
        self._process_send(Preempt())

    async def stop(self) -> None:
        """As `Engine.stop`: the process is asked to end, and killed where it does not."""
        self._is_stopped = True
        if self._supervising is not None:
            self._supervising.cancel()
            await asyncio.wait([self._supervising])
        if self._checker is not None:
            await self._checker.stop()
        await self._process.stop()
        self._is_up = False
        self._fail_all(_STOPPED)
        _notify(self._load_changed)

    async def _supervise(self, first: _First) -> None:
        """Whenever the process ends, bring up another one."""
        try:
            while True:
                await self._watch(self._process)
                self._note_death(await self._process.reap())
                await self._restart(first)
        except Exception:  # whatever it is: without a supervisor the live requests would wait for ever
            _log.exception("the supervisor of the engine failed")
            self._set_state(EngineState.FAILED)
            self._fail_all(_DIED_AGAIN)

    async def _watch(self, process: EngineProcess) -> None:
        """Wait for its end. Where it has work and gives no frame for too long, kill it."""
        watchdog_s = self._policy.watchdog_s
        look_s = watchdog_s / _LOOKS or None
        silent_s, num_frames = 0.0, self._num_frames
        while not process.is_dead:
            try:
                await asyncio.wait_for(process.wait_until_dead(), look_s)
            except TimeoutError:
                is_silent = num_frames == self._num_frames and any(each.is_sent for each in self._generations.values())
                silent_s = silent_s + watchdog_s / _LOOKS if is_silent else 0.0
                num_frames = self._num_frames
                if silent_s >= watchdog_s + self._long_steps_s():
                    _log.error("the engine has work and says nothing for %.1f s: it is killed", silent_s)
                    process.kill()

    def _long_steps_s(self) -> float:
        rate = self._load.prefill_tokens_per_s
        return _LONGEST_STEPS * self._options.max_step_tokens / rate if rate else 0.0

    def _note_death(self, how: str) -> None:
        """The process, which had taken requests, is gone."""
        self._is_up = False
        culprit = find_culprit(self._generations.values())
        self._restarts.note_death()
        _log.error("the engine process %s; %d requests are to be taken up again", how, len(self._generations))
        if culprit is not None:
            del self._generations[culprit.request_id]
            culprit.fail(_CULPRIT)
            _log.error("request %s fails: %s", culprit.request_id, _CULPRIT)
        self._load = self._load._replace(running=0, waiting=0, free_blocks=self._load.total_blocks)
        _notify(self._load_changed)
        self._look_for_crash_loop()

    def _look_for_crash_loop(self) -> None:
        if not self._restarts.is_crash_loop:
            self._set_state(EngineState.RECOVERING)
            return
        _log.error("%s without a token in between; it is tried every %g s", _DIED_AGAIN, self._restarts.pause_s)
        self._set_state(EngineState.FAILED)
        self._fail_all(_DIED_AGAIN)

    async def _restart(self, first: _First) -> None:
        """Start processes until one is ready."""
        limit_s = max(self._policy.least_start_s, _START_FACTOR * first.seconds)
        while True:
            await asyncio.sleep(self._restarts.pause_s)
            self._process = self._make_process()
            try:
                info = await asyncio.wait_for(self._process.start(_log_progress), limit_s)
                _check_same(info, first.info)
                break
            except (EngineStartError, OSError, TimeoutError) as error:
                await self._process.stop()
                self._restarts.note_death()
                _log.error("the engine did not start again: %s", str(error) or f"it took more than {limit_s:g} s")
                self._look_for_crash_loop()
        self._num_restarts += 1
        _log.info("the engine is back; restart %d", self._num_restarts)
        self._take_into_service()

    def _take_into_service(self) -> None:
        self._is_up = True
        if self._vocabulary is not None:
            self._process.send(SetVocabulary(self._vocabulary))
        self._take_up()

    def _take_up(self) -> None:
        """Give the process the requests that it may have now."""
        if not self._is_up:
            return
        for generation in next_up(self._generations.values()):
            self._submit(generation)
        is_done = all(generation.is_sent for generation in self._generations.values())
        self._set_state(EngineState.RUNNING if is_done else EngineState.RECOVERING)

    def _submit(self, generation: LiveGeneration) -> None:
        generation.is_sent = True
        self._process.send(Submit(generation.submission()))

    def _dispatch(self, frame: ReceivedStep) -> None:
        self._num_frames += 1
        self._load = frame.load
        _notify(self._load_changed)
        if not frame.columns:
            return
        self._restarts.note_progress()
        for row in zip(*frame.columns, strict=True):
            # The fields are not given a name each before that is needed: this is done for every token.
            if (generation := self._generations.get(row[0])) is not None and not generation.extend(row):
                generation.add(SequenceOutput._make(row))
        if self._state is EngineState.RECOVERING:
            self._take_up()

    def _forget(self, request_id: str) -> None:
        self._generations.pop(request_id, None)
        if self._state is EngineState.RECOVERING:
            self._take_up()

    def _fail_all(self, message: str) -> None:
        for generation in self._generations.values():
            generation.fail(message)
        self._generations.clear()

    def _set_state(self, state: EngineState) -> None:
        if state is not self._state:
            self._state = state
            _notify(self._state_changed)

    def _make_process(self) -> EngineProcess:
        return EngineProcess(self._options, on_frame=self._dispatch, program=self._program)

    def _process_send(self, command: Command) -> None:
        if self._is_up:
            self._process.send(command)


def _check_same(info: EngineInfo, first: EngineInfo) -> None:
    """Raise `EngineStartError` unless a restarted engine can go on with what the first one began."""
    if (info.weights_fingerprint, info.vocabulary_size) != (first.weights_fingerprint, first.vocabulary_size):
        raise EngineStartError(f"{info.model_path} is another model now")
    if info.context_length < first.context_length:
        raise EngineStartError(
            f"there is memory for a context of {info.context_length} tokens, and {first.context_length} were promised"
        )


def _log_progress(progress: Progress) -> None:
    _log.debug("the engine starts again: %s", progress.stage)


def _notify(event: asyncio.Event) -> None:
    """Wake those who wait now."""
    event.set()
    event.clear()
