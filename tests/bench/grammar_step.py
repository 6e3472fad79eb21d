"""What a grammar adds to an engine step, by turns of a few steps within one run.

python tests/bench/grammar_step.py [--model PATH] [--streams 32] [--steps 360]

All streams are constrained by a nested schema. For some steps at a time the sampler is told nothing of that, then again
for as many. Neighbouring turns see the same machine: on a shared one, runs of seconds differ by more than the cost. No
front end and no clients.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenwire.engine.client import OPENMP_ENVIRONMENT

TURN = 6
"""Steps; the first of a turn is not counted, for it has work of the turn before."""


class Turns:
    """A sampler that is told of grammars or not. Reaches into it: this is a measurement, not an interface."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._sample = sampler.sample
        self.is_free = False

    def sample(self, logits: Any, slots: Sequence[int]) -> Any:
        """As `Sampler.sample`."""
        if not self.is_free:
            return self._sample(logits, slots)
        rows = [self._sampler._slots[slot] for slot in slots]
        constraints = [row.constraint for row in rows]
        for row in rows:
            row.constraint = row.mask = None
        samples = self._sample(logits, slots)
        for row, constraint in zip(rows, constraints, strict=True):
            row.constraint = constraint
        return samples


def measure(folder: Path, *, streams: int, steps: int) -> None:
    """Print a table of both temperatures."""
    from bench.control_cost import records
    from support.inline_engine import InlineEngine
    from tokenwire.chat.constraint.response_format import format_rule
    from tokenwire.chat.model import ServedModel
    from tokenwire.engine.protocol import SamplingParams

    engine = InlineEngine(folder)
    model = ServedModel.load("bench", engine.info)
    engine.set_vocabulary(model.vocabulary())
    turns = Turns(engine._runner._sampler)
    turns._sampler.sample = turns.sample
    rule = format_rule(records(2, salt="x", count=200))
    assert rule is not None
    print(f"| {streams} streams | step without, ms | with | cost (standard error) |", "|---|---|---|---|", sep="\n")
    for temperature in (0.0, 1.0):
        for stream in range(streams):
            prompt = model.tokenizer.encode_text(f"Item {temperature} {stream:03d} of the catalogue as JSON records:")
            params = SamplingParams(
                seed=stream, max_tokens=steps, temperature=temperature, ignore_eos=True, grammar=rule.grammar()
            )
            engine.submit(f"{temperature}/{stream}", prompt, params)
        _print_row(f"temperature {temperature:g}", _times_ms(engine, turns))


def _times_ms(engine: Any, turns: Turns) -> list[float]:
    """The median step of each turn; the turns with grammars are the even ones."""
    steps_ms: list[float] = []
    while engine.scheduler.has_work:
        turns.is_free = len(steps_ms) // TURN % 2 == 1
        began_s = time.perf_counter()
        engine.step()
        steps_ms.append((time.perf_counter() - began_s) * 1000)
    first = 2 * TURN  # prompts
    whole = range(first, len(steps_ms) - TURN + 1, TURN)
    return [statistics.median(steps_ms[start + 1 : start + TURN]) for start in whole]


def _print_row(name: str, turns_ms: Sequence[float]) -> None:
    free, constrained = turns_ms[1::2], turns_ms[2::2]
    costs = [own / ((before + after) / 2) - 1 for before, own, after in zip(free, constrained, free[1:], strict=False)]
    error = statistics.stdev(costs) / len(costs) ** 0.5
    figures = f"{statistics.median(free):.1f} | {statistics.median(constrained):.1f}"
    print(f"| {name} | {figures} | {statistics.mean(costs):+.1%} ({error:.1%}) |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder; default: the demo model")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--steps", type=int, default=360)
    arguments = parser.parse_args()
    from tokenwire.cache import default_cache_dir
    from tokenwire.demo import fetch_demo_model

    model = arguments.model or fetch_demo_model(default_cache_dir())
    measure(model, streams=arguments.streams, steps=arguments.steps)


if __name__ == "__main__":
    import os

    if not OPENMP_ENVIRONMENT.items() <= os.environ.items():  # as the engine process has it, before torch is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **OPENMP_ENVIRONMENT})
    sys.path[:0] = [str(Path(__file__).parent.parent)]
    main()
