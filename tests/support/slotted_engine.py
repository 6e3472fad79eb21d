"""An engine in this process that computes nothing and, like a real one, runs so many sequences at once."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from support.fake_engine import FakeEngine
from tokenwire.engine.protocol import EngineLoad, FinishReason, GenerationRequest, SequenceOutput


@dataclass
class SlottedEngine(FakeEngine):
    """Gives `tokens` in turn, one a step to each sequence that runs, up to `max_tokens` of the request."""

    slots: int = 4
    step_s: float = 0.002
    tokens: tuple[int, ...] = (300,)
    begun: list[str] = field(default_factory=list)
    """Ids of the requests in the order in which they got a slot."""
    steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.load = EngineLoad(decode_step_s=self.step_s, prefill_tokens_per_s=1e6)
        self.live: dict[str, SlottedGeneration] = {}
        self._task: asyncio.Task[None] | None = None

    def generate(self, request: GenerationRequest) -> "SlottedGeneration":  # type: ignore[override]
        self.requests.append(request)
        generation = self.live[request.request_id] = SlottedGeneration(self, request)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return generation

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await super().stop()

    async def _run(self) -> None:
        while self.live:
            await asyncio.sleep(self.step_s)
            self.steps += 1
            order = sorted(self.live.values(), key=lambda generation: -generation.request.priority)
            free = self.slots
            for generation in order:
                if free > 0:
                    free -= generation.step(free)
            sequences = sum(len(generation.left) for generation in self.live.values())
            running = min(sequences, self.slots)
            self.load = self.load._replace(step=self.steps, running=running, waiting=sequences - running)


class SlottedGeneration:
    """A `Generation` of it."""

    def __init__(self, engine: SlottedEngine, request: GenerationRequest) -> None:
        self.request = request
        self.left = dict.fromkeys(range(request.n), request.sampling.max_tokens)
        self._engine = engine
        self._outputs: deque[SequenceOutput] = deque()
        self._changed = asyncio.Event()
        self._has_begun = False

    def step(self, slots: int) -> int:
        """Give the first few choices a token each; returns how many got one."""
        if not self._has_begun:
            self._has_begun = True
            self._engine.begun.append(self.request.request_id)
        indices = list(self.left)[:slots]
        for index in indices:
            self.left[index] -= 1
            given = self.request.sampling.max_tokens - self.left[index] - 1
            token = self._engine.tokens[given % len(self._engine.tokens)]
            reason = None if self.left[index] else FinishReason.LENGTH
            self._outputs.append(SequenceOutput(self.request.request_id, index, (token,), finish_reason=reason))
            if reason is not None:
                del self.left[index]
        self._forget_if_done()
        self._changed.set()
        return len(indices)

    async def receive(self) -> tuple[SequenceOutput, ...]:
        self._changed.clear()
        if not self._outputs:
            await self._changed.wait()
        outputs = tuple(self._outputs)
        self._outputs.clear()
        return outputs

    def wake(self) -> None:
        self._changed.set()

    def abort(self, index: int | None = None) -> int:
        if index is None:
            self.left.clear()
            self.wake()
        else:
            self.left.pop(index, None)
        self._forget_if_done()
        kept = [output for output in self._outputs if index not in (None, output.index)]
        num_dropped = len(self._outputs) - len(kept)
        self._outputs = deque(kept)
        return num_dropped

    def _forget_if_done(self) -> None:
        if not self.left:
            self._engine.live.pop(self.request.request_id, None)
