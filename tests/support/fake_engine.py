"""A scripted engine: tests say what each request gets, see what was asked, and control the pace without sleeping."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenwire.engine.protocol import (
    EngineInfo,
    EngineLoad,
    EngineState,
    FinishReason,
    GenerationRequest,
    GrammarError,
    Progress,
    SequenceOutput,
    TokenLogprobs,
    Vocabulary,
)
from tokenwire.errors import EngineFaultError

Step = Sequence[SequenceOutput] | asyncio.Event | Exception
"""Outputs: what one `receive()` returns (their `request_id` is filled in); an event to wait for; an error to raise."""

Script = Sequence[Step] | Callable[[GenerationRequest], Sequence[Step]]


def output(*token_ids: int, index: int = 0, finish: FinishReason | None = None, **fields: Any) -> SequenceOutput:
    """One output of a script; the request id is filled in by the engine."""
    return SequenceOutput("", index, token_ids, finish_reason=finish)._replace(**fields)


def answer(
    token_ids: Sequence[int], *, finish: FinishReason = FinishReason.STOP
) -> Callable[[GenerationRequest], Sequence[Step]]:
    """A script that gives every choice these tokens, one a step, and ends with the last (or at `max_tokens`)."""

    def script(request: GenerationRequest) -> Sequence[Step]:
        given = token_ids[: request.sampling.max_tokens]
        end = finish if len(given) == len(token_ids) else FinishReason.LENGTH
        return [
            [
                output(
                    token_id,
                    index=index,
                    finish=end if position == len(given) - 1 else None,
                    logprobs=_logprobs(token_id, request.sampling.top_logprobs),
                )
                for index in range(request.n)
            ]
            for position, token_id in enumerate(given)
        ]

    return script


def _logprobs(token_id: int, top: int | None) -> tuple[TokenLogprobs, ...]:
    if top is None:
        return ()
    return (TokenLogprobs(-0.5, tuple((token_id + rank, -0.5 - rank) for rank in range(top))),)


def make_info(model_path: Path, *, vocabulary_size: int = 500, context_length: int = 512) -> EngineInfo:
    """What a tiny model's engine would say of itself."""
    return EngineInfo(
        model_path=model_path,
        architecture="LlamaForCausalLM",
        dtype="float32",
        weights="",
        device="cpu",
        vocabulary_size=vocabulary_size,
        context_length=context_length,
        kv_cache_tokens=4096,
        eos_token_ids=(2,),
        weights_fingerprint="00ff",
    )


@dataclass
class FakeEngine:
    """An `Engine` that plays a script for each request."""

    script: Script = ()
    info: EngineInfo | None = None
    """What `start()` returns."""
    load: EngineLoad = field(default_factory=EngineLoad)
    requests: list[GenerationRequest] = field(default_factory=list)
    aborts: list[tuple[str, int | None]] = field(default_factory=list)
    """(request id, choice or None for all), in the order of the calls."""
    vocabulary: Vocabulary | None = None
    grammars: list[str] = field(default_factory=list)
    """Those that were checked, in order."""
    refusal: Callable[[str], str | None] = lambda grammar: None
    """Why a grammar is refused; None where it is accepted."""

    def __post_init__(self) -> None:
        self._died = asyncio.Event()
        self.state = EngineState.RUNNING
        self.num_restarts = 0
        self._state_changed = asyncio.Event()

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        assert self.info is not None, "a fake engine without `info` cannot be started"
        on_progress(Progress("loading", 1.0))
        return self.info

    async def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    async def check_grammar(self, grammar: str) -> None:
        self.grammars.append(grammar)
        if (reason := self.refusal(grammar)) is not None:
            raise GrammarError(reason)

    def generate(self, request: GenerationRequest) -> "FakeGeneration":
        if self._died.is_set():
            raise EngineFaultError("the engine is dead")
        self.requests.append(request)
        steps = self.script(request) if callable(self.script) else self.script
        return FakeGeneration(request, iter(steps), self.aborts, self._died)

    def set_state(self, state: EngineState) -> None:
        """Tell those who watch it."""
        self.state = state
        self._state_changed.set()
        self._state_changed.clear()

    async def wait_for_state(self, condition: Callable[[EngineState], bool]) -> EngineState:
        while not condition(self.state):
            await self._state_changed.wait()
        return self.state

    def die(self) -> None:
        """Fail every live generation, and every later one."""
        self._died.set()
        self.set_state(EngineState.FAILED)

    async def stop(self) -> None:
        self.die()


@dataclass
class FakeGeneration:
    """A `Generation` that plays its script."""

    request: GenerationRequest
    steps: Iterator[Step]
    aborts: list[tuple[str, int | None]]
    died: asyncio.Event

    def __post_init__(self) -> None:
        self._live = set(range(self.request.n))
        self._pending: Step | None = None
        self._woken = asyncio.Event()

    async def receive(self) -> tuple[SequenceOutput, ...]:
        self._woken.clear()
        while (step := next(self.steps, None) if self._pending is None else self._pending) is not None:
            self._pending = step  # a wait that is woken or cancelled loses nothing
            await self._pause(step if isinstance(step, asyncio.Event) else None)
            if self._woken.is_set():
                return ()
            self._pending = None
            if isinstance(step, Exception):
                raise step
            if isinstance(step, asyncio.Event):
                continue
            outputs = tuple(o._replace(request_id=self.request.request_id) for o in step if o.index in self._live)
            self._live -= {o.index for o in outputs if o.finish_reason is not None}
            if outputs:
                return outputs
        raise AssertionError("the script has no more steps, but a choice is still open")

    def wake(self) -> None:
        self._woken.set()

    def abort(self, index: int | None = None) -> int:
        if index is None:
            self.wake()
        self.aborts.append((self.request.request_id, index))
        self._live -= self._live if index is None else {index}
        return 0

    async def _pause(self, gate: asyncio.Event | None) -> None:
        """Let other tasks run; wait for the gate, to be woken, or the engine's death."""
        await asyncio.sleep(0)
        if gate is not None:
            waits = [asyncio.ensure_future(event.wait()) for event in (gate, self._woken, self.died)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if self.died.is_set():
            raise EngineFaultError("the engine is dead")
