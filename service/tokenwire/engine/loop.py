"""The engine's main loop."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from tokenwire.engine.grammar.compiler import Grammar
from tokenwire.engine.grammar.pool import GrammarPool
from tokenwire.engine.memory import free_memory, is_out_of_memory
from tokenwire.engine.protocol import (
    Abort,
    Command,
    EngineLoad,
    FinishReason,
    GenerationRequest,
    GrammarError,
    Preempt,
    SequenceOutput,
    SetVocabulary,
    Shutdown,
    StepFrame,
    Submit,
)
from tokenwire.engine.runner import ModelRunner, RunningStep
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler
from tokenwire.engine.wire import FrameSocket

SIGN_OF_LIFE_S = 1.0
"""While requests wait for nothing but their grammars, there is a frame so often: the front end's watchdog looks."""

logger = logging.getLogger("tokenwire.engine")


@dataclass(slots=True)
class _Compiling:
    """A request that is not in line yet, for its grammar is being compiled."""

    request: GenerationRequest
    arrival_s: float
    grammar: Future[Grammar]
    dropped: set[int] = field(default_factory=set)
    """Sequences that were aborted meanwhile."""


class EngineLoop:
    """Takes commands, steps, and sends one frame a step."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: ModelRunner,
        sampler: Sampler,
        frames: FrameSocket,
        *,
        overlap: bool = False,
        retries: bool = True,
    ) -> None:
        """With `overlap`, what a step gave is sent when the next one has begun: for a device that works by itself.

        With `retries`, a step that runs out of memory is tried again with less; not where other ranks wait for it.
        """
        self._scheduler = scheduler
        self._runner = runner
        self._sampler = sampler
        self._frames = frames
        self._overlap = overlap
        self._retries = retries
        self._grammars: GrammarPool | None = None
        self._compiling: dict[str, _Compiling] = {}
        self._num_steps = 0

    @property
    def load(self) -> EngineLoad:
        """The figures now."""
        return self._scheduler.load(self._num_steps)

    def run(self) -> None:
        """Step until the front end says `Shutdown`; while there is nothing to do, wait for a command or a grammar."""
        outputs: list[SequenceOutput] = []  # that are still to be sent
        while True:
            is_idle = not self._scheduler.has_work and not outputs
            most_s = SIGN_OF_LIFE_S if self._compiling else None
            for command in self._frames.receive(wait=is_idle, most_s=most_s, beside=self._grammars):
                if isinstance(command, Shutdown):
                    if self._grammars is not None:
                        self._grammars.close()
                    return
                outputs += self._handle(command)
            outputs += self._submit_compiled()
            finish = self._launch() if self._scheduler.has_work else tuple
            if not self._overlap:
                outputs += finish()
                finish = tuple
            self._frames.send(StepFrame(tuple(outputs), self.load))
            outputs = [*finish()]

    def _handle(self, command: Command) -> tuple[SequenceOutput, ...]:
        match command:
            case Submit(request):
                return self._submit(request, time.monotonic())
            case Abort(request_id, index):
                return self._abort(request_id, index)
            case SetVocabulary(vocabulary):
                self._grammars = GrammarPool(self._sampler.set_vocabulary(vocabulary))
            case Preempt():
                self._scheduler.preempt_all()
            case _:
                raise TypeError(f"unknown command {command!r}")
        return ()

    def _submit(self, request: GenerationRequest, now: float) -> tuple[SequenceOutput, ...]:
        try:
            if (request.sampling.grammar is not None or request.sampling.bad_words) and self._grammars is None:
                raise ValueError("grammars and bad words need a vocabulary")
            if request.sampling.grammar is not None and self._grammars is not None:
                compiled = self._grammars.compile(request.sampling.grammar)
                self._compiling[request.request_id] = _Compiling(request, now, compiled)
            else:
                self._scheduler.submit(request, now)
        except ValueError:
            # The front end lets no such request through. If it does, the others must not pay for it.
            logger.exception("refused request %s", request.request_id)
            return _ended(request, FinishReason.FAULT)
        return ()

    def _submit_compiled(self) -> tuple[SequenceOutput, ...]:
        """Put the requests in line whose grammars are ready."""
        if self._grammars is not None:
            self._grammars.drain()
        outputs: list[SequenceOutput] = []
        for waiting in [waiting for waiting in self._compiling.values() if waiting.grammar.done()]:
            request = waiting.request
            del self._compiling[request.request_id]
            try:
                self._scheduler.submit(request, waiting.arrival_s, waiting.grammar.result())
            except GrammarError:
                logger.exception("the grammar of request %s was accepted and does not compile", request.request_id)
                outputs += _ended(request, FinishReason.CONSTRAINT_FAILED)
            except ValueError:
                logger.exception("refused request %s", request.request_id)
                outputs += _ended(request, FinishReason.FAULT)
            for index in waiting.dropped:
                outputs += self._scheduler.abort(request.request_id, index)
        return tuple(outputs)

    def _abort(self, request_id: str, index: int | None) -> tuple[SequenceOutput, ...]:
        waiting = self._compiling.get(request_id)
        if waiting is None:
            return self._scheduler.abort(request_id, index)
        if index is None:
            del self._compiling[request_id]
            return _ended(waiting.request, FinishReason.ABORTED)
        waiting.dropped.add(index)  # and told when the request is in line
        return ()

    def _launch(self) -> Callable[[], tuple[SequenceOutput, ...]]:
        """Begin a step; what is returned ends it. No command may be handled in between."""
        start_s = time.monotonic()
        plan = self._scheduler.plan(start_s)
        try:
            step = self._runner.launch(plan)
        except (MemoryError, RuntimeError) as error:
            return partial(self._drop, plan, self._why_it_is_dropped(error))
        return partial(self._finish, plan, step, start_s)

    def _finish(self, plan: StepPlan, step: RunningStep, start_s: float) -> tuple[SequenceOutput, ...]:
        try:
            result = self._runner.finish(step)
        except (MemoryError, RuntimeError) as error:
            why = self._why_it_is_dropped(error)
        else:
            self._num_steps += 1
            outputs = self._scheduler.commit(plan, result)
            self._scheduler.observe(plan, time.monotonic() - start_s)
            return outputs
        return self._drop(plan, why)  # out of the handler, so that the error keeps no tensors

    def _why_it_is_dropped(self, error: Exception) -> str:
        """What to say of a step that ran out of memory. Raises any other error."""
        if not self._retries or not is_out_of_memory(error):
            raise error
        return str(error)

    def _drop(self, plan: StepPlan, why: str) -> tuple[SequenceOutput, ...]:
        """Let a step that ran out of memory not have been."""
        logger.warning("no memory for a step of %d tokens, smaller ones follow: %s", plan.num_tokens, why)
        self._runner.forget(plan)
        free_memory()
        return self._scheduler.back_off(plan)


def _ended(request: GenerationRequest, reason: FinishReason) -> tuple[SequenceOutput, ...]:
    """The end of all sequences of a request that never ran."""
    return tuple(SequenceOutput(request.request_id, index, finish_reason=reason) for index, _ in request.open_sequences)
