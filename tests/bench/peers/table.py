"""The figures of all servers as one Markdown table, with what they are of the first one's."""

from collections.abc import Sequence

from tokenwire.cli.bench.compare import Measured
from tokenwire.cli.bench.figures import Figures, Percentiles

_HEAD = (
    "| streams | server | output tok/s | {first} is × it | first token p50 / p90 / p99, ms "
    "| between tokens p50 / p99, ms | request p50, ms |\n|---|---|---|---|---|---|---|"
)


def markdown(measured: Sequence[Measured]) -> str:
    """Rates are medians of the rounds (least–most), times are of all requests."""
    lines = [_HEAD.format(first=next(iter(measured[0].rounds)))]
    for one in measured:
        figures = {name: Figures.of(rounds) for name, rounds in one.rounds.items()}
        first = next(iter(figures.values())).output_tokens_per_s.median
        lines += [f"| {one.point.streams} | {name} {_row(each, first)}" for name, each in figures.items()]
    return "\n".join(lines)


def _row(figures: Figures, first: float) -> str:
    rate = figures.output_tokens_per_s
    return (
        f"| {rate.median:.1f} ({rate.least:.1f}–{rate.most:.1f}) | {first / rate.median:.2f} "
        f"| {_ms(figures.first_token_s, 'p50', 'p90', 'p99')} | {_ms(figures.between_tokens_s, 'p50', 'p99')} "
        f"| {_ms(figures.request_s, 'p50')} |"
    )


def _ms(times: Percentiles | None, *names: str) -> str:
    return "–" if times is None else " / ".join(f"{getattr(times, name) * 1000:.0f}" for name in names)
