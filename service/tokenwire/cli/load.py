"""A load generator over gRPC: so many streams at once, each answered before the next is sent, timed by the client."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from tokenwire_client import AsyncClient, ChatParameters, TokenwireClientError


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a set of measurements, by nearest rank."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What was measured with one number of streams. Times are the client's; a measurement without samples is None."""

    concurrency: int
    requests: int
    """Finished well."""
    errors: Mapping[str, int]
    """How often each message came."""
    wall_s: float
    prompt_tokens: int
    completion_tokens: int
    output_tokens_per_s: float
    """Generated tokens over wall time, all streams together."""
    total_tokens_per_s: float
    """Prompt tokens counted too."""
    time_to_first_token_s: Percentiles | None
    """From sending the request to the first text."""
    inter_token_s: Percentiles | None
    """Between arrivals of text. The server may put several tokens into one delta when it is faster than the reader."""
    request_s: Percentiles | None
    """From sending the request to the end of its stream."""


@dataclass(slots=True)
class _Timing:
    """One request, on the client's clock."""

    sent_s: float
    arrivals_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0


async def measure(
    client: AsyncClient, prompts: AsyncIterator[str], parameters: ChatParameters, *, concurrency: int, requests: int
) -> LoadReport:
    """Send `requests` prompts, at most `concurrency` at once. Errors are counted, not raised."""
    texts = [await anext(prompts) for _ in range(requests)]
    timings: list[_Timing] = []
    errors: Counter[str] = Counter()

    async def work() -> None:
        while texts:
            try:
                timings.append(await _time_one(client, texts.pop(), parameters))
            except TokenwireClientError as error:
                errors[str(error)] += 1

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as streams:
        for _ in range(concurrency):
            streams.create_task(work())
    return _report(timings, errors, concurrency=concurrency, wall_s=time.perf_counter() - began_s)


async def _time_one(client: AsyncClient, prompt: str, parameters: ChatParameters) -> _Timing:
    timing = _Timing(sent_s=time.perf_counter())
    async for update in client.stream(prompt, **parameters):
        if update.text:
            timing.arrivals_s.append(time.perf_counter())
    timing.ended_s = time.perf_counter()
    # A stream without its last event, which has the usage, has raised.
    usage = update.completion.usage
    timing.prompt_tokens, timing.completion_tokens = usage.prompt_tokens, usage.completion_tokens
    return timing


def _report(timings: Sequence[_Timing], errors: Counter[str], *, concurrency: int, wall_s: float) -> LoadReport:
    prompt_tokens = sum(timing.prompt_tokens for timing in timings)
    completion_tokens = sum(timing.completion_tokens for timing in timings)
    gaps_s = [
        later - earlier
        for timing in timings
        for earlier, later in zip(timing.arrivals_s, timing.arrivals_s[1:], strict=False)
    ]
    return LoadReport(
        concurrency=concurrency,
        requests=len(timings),
        errors=dict(errors),
        wall_s=wall_s,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        output_tokens_per_s=completion_tokens / wall_s,
        total_tokens_per_s=(prompt_tokens + completion_tokens) / wall_s,
        time_to_first_token_s=percentiles([t.arrivals_s[0] - t.sent_s for t in timings if t.arrivals_s]),
        inter_token_s=percentiles(gaps_s),
        request_s=percentiles([timing.ended_s - timing.sent_s for timing in timings]),
    )


def percentiles(samples: Sequence[float]) -> Percentiles | None:
    """None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    p50, p90, p99 = (ordered[ceil(len(ordered) * percent / 100) - 1] for percent in (50, 90, 99))
    return Percentiles(p50, p90, p99)
