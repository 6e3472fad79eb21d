"""How the engine's times and memory grow: with context, batch, prompt length and live tokens. Draws the curves.

python tests/bench/growth.py MODEL [--json FILE] [--plot FILE.svg] [options of the engine, such as --weights int8]

The engine's own steps in this process, without front end and clients, greedy, without speculation. Each figure is the
median of its samples. Beside each stands the exponent of its growth since the one before: 1 is linear, 0 is flat.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tokenwire.engine.client import OPENMP_ENVIRONMENT

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.update(OPENMP_ENVIRONMENT)  # as the engine process has it, before torch is loaded

from support.inline_engine import InlineEngine
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.engine.protocol import SamplingParams

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTEXTS = (64, 128, 256, 512, 1024, 2048, 4096, 7680)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
BATCH_CONTEXTS = (64, 512)
PROMPTS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
LIVE_SEQUENCES = 16
LIVE_TOKENS_EACH = 512
BLOCK_SIZE = 16
DECODE_STEPS = 15
FIRST_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure as it grows."""

    name: str
    x_name: str
    unit: str
    points: Sequence[tuple[int, float]]

    def exponents(self) -> Iterator[float]:
        """Of the growth from each point to the next: the slope in a plot whose axes are both logarithmic."""
        for (x0, y0), (x1, y1) in pairwise(self.points):
            yield math.log(y1 / y0) / math.log(x1 / x0)


class Prompts:
    """Tokens that no prompt before began with, so that nothing comes out of the prefix cache."""

    def __init__(self, vocabulary_size: int) -> None:
        self._vocabulary_size = vocabulary_size
        self._number = 0

    def new(self, length: int) -> list[int]:
        """Ordinary tokens; the first one is the prompt's number."""
        self._number += 1
        span = self._vocabulary_size // 2
        return [span + (self._number * 7919 + i * i * 31 + i) % (span - 1) for i in range(length)]


def sampling(max_tokens: int) -> SamplingParams:
    """Greedy, past the end of text."""
    return SamplingParams(seed=0, temperature=0.0, max_tokens=max_tokens, ignore_eos=True)


def step_ms(engine: InlineEngine) -> float:
    """Time of one step."""
    began_s = time.perf_counter()
    engine.step()
    return (time.perf_counter() - began_s) * 1000


def decode_ms(engine: InlineEngine, prompts: Sequence[Sequence[int]]) -> float:
    """Median time of a step in which all prompts, once computed, get their next token."""
    for prompt in prompts:  # one by one into the prefix cache: beside answers they would come in slowly
        engine.submit("prompt", prompt, sampling(1))
        engine.run()
    for number, prompt in enumerate(prompts):
        engine.submit(f"{number}", prompt, sampling(200 + DECODE_STEPS))
    # The last prompts come in while the first ones decode already, whose answers must not end before that.
    while len(engine.step()) < len(prompts):
        pass
    times = [step_ms(engine) for _ in range(DECODE_STEPS)]
    for number in range(len(prompts)):
        engine.scheduler.abort(f"{number}")
    return statistics.median(times)


def first_token_ms(engine: InlineEngine, prompt: Sequence[int]) -> float:
    """From submitting a prompt to an idle engine to its first token."""
    began_s = time.perf_counter()
    engine.submit("first", prompt, sampling(1))
    engine.run()
    return (time.perf_counter() - began_s) * 1000


def by_context(engine: InlineEngine, prompts: Prompts) -> Curve:
    """Each prompt goes on from the one before, which is in the prefix cache."""
    longest = prompts.new(CONTEXTS[-1])
    points = [(length, decode_ms(engine, [longest[:length]])) for length in CONTEXTS]
    return Curve("decode step, 1 stream", "context, tokens", "ms", points)


def by_batch(engine: InlineEngine, prompts: Prompts, context: int) -> Curve:
    """All streams have prompts of their own."""
    texts = [prompts.new(context) for _ in range(BATCHES[-1])]
    points = [(batch, decode_ms(engine, texts[:batch])) for batch in BATCHES]
    return Curve(f"decode step, contexts of {context}", "streams", "ms", points)


def by_prompt(engine: InlineEngine, prompts: Prompts) -> Curve:
    """An idle engine, nothing cached."""
    points = [
        (length, statistics.median(first_token_ms(engine, prompts.new(length)) for _ in range(FIRST_TOKENS)))
        for length in PROMPTS
    ]
    return Curve("first token", "prompt tokens", "ms", points)


def by_live_tokens(engine: InlineEngine, prompts: Prompts) -> Curve:
    """Memory of the process over what it was before the first sequence."""
    process = psutil.Process()
    engine.submit("warm", prompts.new(LIVE_TOKENS_EACH), sampling(1))
    engine.run()
    before = process.memory_info().rss
    points = []
    for number in range(1, LIVE_SEQUENCES + 1):
        engine.submit(f"live {number}", prompts.new(LIVE_TOKENS_EACH), sampling(LIVE_SEQUENCES * 32))
        while not any(output.request_id == f"live {number}" for output in engine.step()):
            pass
        if number & (number - 1) == 0:
            load = engine.scheduler.load(0)
            live_tokens = (load.total_blocks - load.free_blocks) * BLOCK_SIZE
            points.append((live_tokens, (process.memory_info().rss - before) / 2**20))
    for number in range(1, LIVE_SEQUENCES + 1):
        engine.scheduler.abort(f"live {number}")
    return Curve("memory over the loaded engine's", "live tokens", "MiB", points)


def markdown(curve: Curve) -> str:
    """A table with a column a point."""
    exponents = ["", *(f"{exponent:.2f}" for exponent in curve.exponents())]
    rows = [
        [curve.x_name, *(str(x) for x, _ in curve.points)],
        ["---"] * (1 + len(curve.points)),
        [f"{curve.name}, {curve.unit}", *(f"{y:.1f}" for _, y in curve.points)],
        ["exponent", *exponents],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plot(curves: Sequence[Curve], file: Path) -> None:
    """A panel for each thing that grows."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "tokenwire", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        panels = list(figure.subplots(2, 2).flat)
        for axes, x_name in zip(panels, dict.fromkeys(curve.x_name for curve in curves), strict=True):
            _draw(axes, [curve for curve in curves if curve.x_name == x_name])
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _draw(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Both axes are logarithmic; the dashed line is what linear growth from the last point back would be."""
    for curve in curves:
        axes.plot(*zip(*curve.points, strict=True), marker="o", label=curve.name)
    last_x, last_y = curves[0].points[-1]
    first_x = curves[0].points[0][0]
    axes.plot([first_x, last_x], [last_y * first_x / last_x, last_y], "--", color="grey", linewidth=1, label="linear")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([x for x, _ in curves[0].points], [f"{x}" for x, _ in curves[0].points])
    axes.set_xlabel(curves[0].x_name)
    axes.set_ylabel(curves[0].unit)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def measure(model: Path, options: dict[str, object]) -> Iterator[Curve]:
    """All curves of one engine, after warming up."""
    options = {"kv_memory_bytes": 4 << 30, "block_size": BLOCK_SIZE, "speculation": False, **options}
    engine = InlineEngine(model, **options)
    prompts = Prompts(engine.info.vocabulary_size)
    yield by_live_tokens(engine, prompts)  # first: what once was live stays in the process
    yield by_prompt(engine, prompts)
    yield by_context(engine, prompts)
    for context in BATCH_CONTEXTS:
        yield by_batch(engine, prompts, context)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--plot", type=Path, help="draw them here: .png or .svg")
    arguments, rest = parser.parse_known_args()
    options: dict[str, object] = {
        name.removeprefix("--"): int(value) if value.isdecimal() else value
        for name, value in zip(rest[::2], rest[1::2], strict=True)
    }
    curves = []
    for curve in measure(arguments.model, options):
        print(markdown(curve), end="\n\n", flush=True)
        curves.append(curve)
    about = circumstances(sys.argv)
    print(about)
    if arguments.json:
        figures = {"circumstances": about, "curves": [asdict(curve) for curve in curves]}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(curves, arguments.plot)


if __name__ == "__main__":
    main()
