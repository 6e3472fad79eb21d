"""Curves of a benchmark: how rates and times grow with the streams or with the prompts' length, a line a server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenwire.cli.bench.compare import Measured
from tokenwire.cli.bench.figures import Figures, Percentiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind people can tell apart."""


def plot(measured: Sequence[Measured], file: Path) -> None:
    """Draw the curves; the file's suffix, one of `SUFFIXES`, is its format. Raises ImportError without matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = _lines(measured)
    # Random ids and the date would make every drawing of the same figures differ.
    with matplotlib.rc_context({"svg.hashsalt": "tokenwire", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        rate, first, gap, request = figure.subplots(2, 2).flat
        _draw_rates(rate, lines)
        _draw_times(first, lines, "first token, ms", lambda figures: figures.first_token_s)
        _draw_times(gap, lines, "between tokens, ms", lambda figures: figures.between_tokens_s)
        _draw_times(request, lines, "request, ms", lambda figures: figures.request_s)
        for axes in (rate, first, gap, request):
            _finish(axes, measured)
        figure.legend(*rate.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


_Line = list[tuple[int, Figures]]
"""Figures by streams or by prompt tokens."""


def _grows_by_streams(measured: Sequence[Measured]) -> bool:
    """Else by the prompts' length."""
    return len({one.point.streams for one in measured}) > 1 or measured[0].point.prompt_tokens is None


def _lines(measured: Sequence[Measured]) -> dict[str, _Line]:
    """A line for each server, and for each length of prompts where both grow."""
    by_streams = _grows_by_streams(measured)
    several = by_streams and len({one.point.prompt_tokens for one in measured}) > 1
    lines: dict[str, _Line] = {}
    for one in measured:
        x = one.point.streams if by_streams else one.point.prompt_tokens or 0
        for name, rounds in one.rounds.items():
            label = f"{name}, {one.point.prompt_tokens} prompt tokens" if several else name
            lines.setdefault(label, []).append((x, Figures.of(rounds)))
    return lines


def _draw_rates(axes: "Axes", lines: dict[str, _Line]) -> None:
    """Medians, and from the least to the most of the rounds."""
    axes.set_title("output tokens a second")
    for number, (label, line) in enumerate(lines.items()):
        x = [each for each, _ in line]
        rates = [figures.output_tokens_per_s for _, figures in line]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(x, [rate.median for rate in rates], marker="o", color=colour, label=label)
        axes.fill_between(x, [r.least for r in rates], [r.most for r in rates], color=colour, alpha=0.15, linewidth=0)


def _draw_times(
    axes: "Axes", lines: dict[str, _Line], title: str, times: Callable[[Figures], Percentiles | None]
) -> None:
    """The p50 as a line with marks, the p99 dotted."""
    axes.set_title(f"{title}: p50, dotted p99")
    axes.set_yscale("log")
    for number, line in enumerate(lines.values()):
        points = [(x, percentiles) for x, figures in line if (percentiles := times(figures))]
        x = [each for each, _ in points]
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot(x, [percentiles.p50 * 1000 for _, percentiles in points], marker="o", color=colour)
        axes.plot(x, [percentiles.p99 * 1000 for _, percentiles in points], linestyle=":", color=colour)


def _finish(axes: "Axes", measured: Sequence[Measured]) -> None:
    by_streams = _grows_by_streams(measured)
    axes.set_xscale("log", base=2)
    ticks = sorted({one.point.streams if by_streams else one.point.prompt_tokens or 0 for one in measured})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlabel("streams" if by_streams else "prompt tokens")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
