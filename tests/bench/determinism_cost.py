"""What the deterministic mode costs: the engine's steps with and without it, in turns on one machine.

python tests/bench/determinism_cost.py MODEL [--threads 2] [--rounds 15]

Two engines in this process; each round gives every engine one prefill and some decode steps at 1, 8 and 32 streams.
Prints a Markdown table of the medians (and the least, which other load on the machine disturbs less), in ms.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from zlib import crc32

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.inline_engine import InlineEngine
from tokenwire.engine.protocol import SamplingParams

STREAMS = (1, 8, 32)
DECODE_STEPS = 5
PREFILL_STEPS = 3
"""Before the decodes that count. From the second round on their prompt is in the prefix cache."""
PREFILL_TOKENS = 448
DECODE_PROMPT = [100 + i for i in range(65)]


def step_ms(engine: InlineEngine) -> float:
    """Time of one step."""
    start = time.perf_counter()
    engine.step()
    return (time.perf_counter() - start) * 1000


def measure(engine: InlineEngine, label: str) -> dict[str, list[float]]:
    """Times of the steps of one round, by what they do."""
    times: dict[str, list[float]] = defaultdict(list)
    prompt = [100 + crc32(f"{label} {i}".encode()) % 1000 for i in range(PREFILL_TOKENS)]  # not in the prefix cache
    engine.submit(label, prompt, SamplingParams(seed=0, max_tokens=1))
    times[f"prefill of {PREFILL_TOKENS}"].append(step_ms(engine))
    sampling = SamplingParams(seed=0, max_tokens=100, ignore_eos=True)
    for streams in STREAMS:
        engine.submit(label, DECODE_PROMPT, sampling, n=streams)
        for _ in range(PREFILL_STEPS):
            engine.step()
        times[f"decode of {streams}"] += [step_ms(engine) for _ in range(DECODE_STEPS)]
        engine.scheduler.abort(label)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    engines = {mode: InlineEngine(arguments.model, deterministic=mode) for mode in (False, True)}
    times: dict[bool, dict[str, list[float]]] = {mode: defaultdict(list) for mode in engines}
    for number in range(-1, arguments.rounds):
        for mode, engine in engines.items():
            for name, measured in measure(engine, f"{number}").items():
                times[mode][name] += measured if number >= 0 else []
    print(
        "| step | off: median (least), ms | on: median (least), ms | ratio of medians (of least) |\n|---|---|---|---|"
    )
    for name, off in times[False].items():
        on = times[True][name]
        medians, least = (statistics.median(off), statistics.median(on)), (min(off), min(on))
        columns = [f"{medians[i]:.1f} ({least[i]:.1f})" for i in range(2)]
        print(f"| {name} | {' | '.join(columns)} | {medians[1] / medians[0]:.2f} ({least[1] / least[0]:.2f}) |")


if __name__ == "__main__":
    main()
