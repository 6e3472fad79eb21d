"""One round of load: so many streams at once, timed by the client."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tokenwire.cli.bench.targets import RequestFailedError, Target, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round showed. Times are the client's, in seconds; one sample a request, or a pair of arrivals."""

    errors: Mapping[str, int]
    """How often each message came."""
    wall_s: float
    client_cpu_s: float
    """Processor time of this process: what generating the load took from the servers beside it."""
    prompt_tokens: int
    completion_tokens: int
    first_token_s: Sequence[float] = field(repr=False)
    between_tokens_s: Sequence[float] = field(repr=False)
    request_s: Sequence[float] = field(repr=False)

    @property
    def requests(self) -> int:
        """Finished well."""
        return len(self.request_s)

    @property
    def output_tokens_per_s(self) -> float:
        """Generated tokens over wall time, all streams together."""
        return self.completion_tokens / self.wall_s

    @property
    def total_tokens_per_s(self) -> float:
        """Prompt tokens counted too."""
        return (self.prompt_tokens + self.completion_tokens) / self.wall_s


@dataclass(frozen=True, slots=True)
class _Timing:
    """One request, on the client's clock."""

    sent_s: float
    arrivals_s: Sequence[float]
    ended_s: float
    usage: Usage


async def measure(target: Target, prompts: Sequence[str], *, streams: int, max_tokens: int) -> Round:
    """Send the prompts, at most `streams` at once. Errors are counted, not raised."""
    texts = list(reversed(prompts))
    timings: list[_Timing] = []
    errors: Counter[str] = Counter()

    async def work() -> None:
        while texts:
            try:
                timings.append(await _time_one(target, texts.pop(), max_tokens=max_tokens))
            except RequestFailedError as error:
                errors[str(error)] += 1

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(streams):
            tasks.create_task(work())
    return Round(
        errors=dict(errors),
        wall_s=time.perf_counter() - began_s,
        client_cpu_s=time.process_time() - began_cpu_s,
        prompt_tokens=sum(timing.usage.prompt_tokens for timing in timings),
        completion_tokens=sum(timing.usage.completion_tokens for timing in timings),
        first_token_s=[timing.arrivals_s[0] - timing.sent_s for timing in timings if timing.arrivals_s],
        between_tokens_s=[later - earlier for timing in timings for earlier, later in pairwise(timing.arrivals_s)],
        request_s=[timing.ended_s - timing.sent_s for timing in timings],
    )


async def _time_one(target: Target, prompt: str, *, max_tokens: int) -> _Timing:
    arrivals_s: list[float] = []
    sent_s = time.perf_counter()
    usage = await target.answer(prompt, max_tokens=max_tokens, on_text=lambda: arrivals_s.append(time.perf_counter()))
    return _Timing(sent_s, arrivals_s, time.perf_counter(), usage)
