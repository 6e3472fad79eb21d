"""What measured rounds come to: medians with their spread, and percentiles of all requests together."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Self

from tokenwire.cli.bench.load import Round


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a set of measurements, by nearest rank."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one figure a round."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one server at one point. Times are the client's; a measurement without samples is None."""

    requests: int
    """Finished well."""
    errors: Mapping[str, int]
    """How often each message came."""
    prompt_tokens: float
    """Mean of the requests, template included, as the server counts them."""
    completion_tokens: float
    """Mean of the requests."""
    output_tokens_per_s: Spread
    """Generated tokens over wall time, all streams together."""
    total_tokens_per_s: Spread
    """Prompt tokens counted too."""
    first_token_s: Percentiles | None
    """From sending the request to the first text."""
    between_tokens_s: Percentiles | None
    """Between arrivals of text. A server may put several tokens into one message when it is faster than the reader."""
    request_s: Percentiles | None
    """From sending the request to the end of its stream."""
    client_load: float
    """Processor time of the load generator over wall time; 1 is a whole core."""

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> Self:
        """Of at least one round."""
        requests = sum(one.requests for one in rounds)
        errors: Counter[str] = Counter()
        for one in rounds:
            errors.update(one.errors)
        return cls(
            requests=requests,
            errors=dict(errors),
            prompt_tokens=sum(one.prompt_tokens for one in rounds) / max(requests, 1),
            completion_tokens=sum(one.completion_tokens for one in rounds) / max(requests, 1),
            output_tokens_per_s=_spread([one.output_tokens_per_s for one in rounds]),
            total_tokens_per_s=_spread([one.total_tokens_per_s for one in rounds]),
            first_token_s=percentiles([*chain.from_iterable(one.first_token_s for one in rounds)]),
            between_tokens_s=percentiles([*chain.from_iterable(one.between_tokens_s for one in rounds)]),
            request_s=percentiles([*chain.from_iterable(one.request_s for one in rounds)]),
            client_load=sum(one.client_cpu_s for one in rounds) / sum(one.wall_s for one in rounds),
        )


def percentiles(samples: Sequence[float]) -> Percentiles | None:
    """None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    p50, p90, p99 = (ordered[ceil(len(ordered) * percent / 100) - 1] for percent in (50, 90, 99))
    return Percentiles(p50, p90, p99)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))
