"""The figures of a benchmark as tables on the terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from tokenwire.cli.bench.compare import Measured, Point
from tokenwire.cli.bench.figures import Figures, Percentiles, Spread


def tables(measured: Sequence[Measured], descriptions: Mapping[str, str]) -> list[Table]:
    """For one server one table with a column a point; for several one table a point, with a column a server.

    `descriptions` has what is served, by the servers' names.
    """
    figures = [(one.point, {name: Figures.of(rounds) for name, rounds in one.rounds.items()}) for one in measured]
    if len(descriptions) == 1:
        [(name, description)] = descriptions.items()
        return [_table(description, {_heading(point): servers[name] for point, servers in figures})]
    return [_table(_heading(point), servers) for point, servers in figures]


def _heading(point: Point) -> str:
    streams = "1 stream" if point.streams == 1 else f"{point.streams} streams"
    return streams if point.prompt_tokens is None else f"{streams}, {point.prompt_tokens} tokens each"


def _table(title: str, columns: Mapping[str, Figures]) -> Table:
    table = Table(title=title)
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    figures = list(columns.values())
    table.add_row("requests", *(str(one.requests) for one in figures))
    table.add_row("errors", *(str(sum(one.errors.values())) for one in figures))
    table.add_row("prompt + new tokens", *(f"{one.prompt_tokens:.0f} + {one.completion_tokens:.0f}" for one in figures))
    table.add_row("output tok/s", *(_spread(one.output_tokens_per_s) for one in figures))
    table.add_row("total tok/s", *(_spread(one.total_tokens_per_s) for one in figures))
    table.add_row("first token, ms", *(_milliseconds(one.first_token_s) for one in figures))
    table.add_row("between tokens, ms", *(_milliseconds(one.between_tokens_s) for one in figures))
    table.add_row("request, ms", *(_milliseconds(one.request_s) for one in figures))
    table.add_row("load generator, of a core", *(f"{one.client_load:.0%}" for one in figures))
    table.caption = "rates: median of the rounds (least–most); times: p50 / p90 / p99"
    return table


def _spread(spread: Spread) -> str:
    return f"{spread.median:.1f} ({spread.least:.1f}–{spread.most:.1f})"


def _milliseconds(measured: Percentiles | None) -> str:
    if measured is None:
        return "–"
    times_s = (measured.p50, measured.p90, measured.p99)
    return " / ".join(f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f}" for seconds in times_s)
