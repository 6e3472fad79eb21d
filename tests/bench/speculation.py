"""What speculation gives at one stream: tokens a second with it and without, in turns, on copying and ordinary tasks.

python tests/bench/speculation.py [--model PATH] [--rounds 3] [--tokens 160] [--temperature 0] [--json FILE]

One engine without front end and clients; its scheduler is told to draft or not before each answer. Counted is the time
from an answer's first token to its last. With and without, the tokens must be the same.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenwire.engine.client import OPENMP_ENVIRONMENT

TEXT = (
    "The tower at Cape Morgan was built in 1874 by a crew of forty-two men. It stands 31 metres tall, and its light "
    "can be seen from 24 nautical miles away. The first keeper, Elias Thorne, lived there with his wife Margaret and "
    "their three children until the winter of 1891, when a storm destroyed the boathouse and the family moved to town."
)
RECORDS = json.dumps(
    [{"id": 100 + i, "name": name, "city": "Lisbon", "active": True} for i, name in enumerate(("Ana", "Rui", "Eva"))],
    indent=2,
)
CODE = """def mean(values):
    total = 0
    for value in values:
        total += value
    return total / len(values)

def variance(values):
    average = mean(values)
    total = 0
    for value in values:
        total += (value - average) ** 2
    return total / len(values)"""
TASKS = {
    "copying": [
        f"Repeat the following text exactly, word for word:\n\n{TEXT}",
        f"Here is a list of records:\n\n{RECORDS}\n\nWrite the same JSON again, with the city changed to Porto.",
        f"Here is some Python code:\n\n{CODE}\n\nWrite the same code again and rename `total` to `result`.",
    ],
    "ordinary": [
        "Why is the sky blue? Explain it to a child.",
        "Write a short story about a dog who finds a map.",
        "What should I look at when I buy a used bicycle?",
        "Compare tea and coffee in a few sentences.",
        "How does a bill become a law in the United States?",
        "Write a friendly email that asks a colleague to move a meeting to Thursday.",
    ],
}


@dataclass(slots=True)
class Tally:
    """Of the answers of one kind of task."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Bench:
    """One engine. Reaches into it: this is a measurement, not an interface."""

    def __init__(self, folder: Path, *, tokens: int, temperature: float) -> None:
        from support.inline_engine import InlineEngine
        from tokenwire.chat.model import ServedModel

        self._engine: Any = InlineEngine(folder)
        self._model = ServedModel.load("bench", self._engine.info)
        self._tokens, self._temperature = tokens, temperature
        self._num_answers = 0

    def prompt(self, task: str) -> list[int]:
        text = f"<|im_start|>user\n{task}<|im_end|>\n<|im_start|>assistant\n"
        return list(self._model.tokenizer.encode_marked(text))

    def answer(self, task: str, *, speculation: bool, tally: Tally) -> list[int]:
        """Generate, and add to the tally."""
        from tokenwire.engine.protocol import SamplingParams

        scheduler = self._engine.scheduler
        scheduler._speculation = speculation
        self._num_answers += 1
        params = SamplingParams(seed=1, max_tokens=self._tokens, temperature=self._temperature)
        self._engine.submit(f"{self._num_answers}", self.prompt(task), params)
        answer: list[int] = []
        first_s, at_first = 0.0, 0
        while scheduler.has_work:
            for output in self.step():
                answer += output.token_ids
            if answer and not first_s:
                first_s, at_first = time.perf_counter(), len(answer)
        tally.tokens += len(answer) - at_first
        tally.seconds += time.perf_counter() - first_s
        return answer

    def step(self) -> Any:
        """As `EngineLoop` does it."""
        scheduler = self._engine.scheduler
        began_s = time.monotonic()
        plan = scheduler.plan(began_s)
        result = self._engine._runner.run(plan)
        scheduler.observe(plan, time.monotonic() - began_s)
        return scheduler.commit(plan, result)

    @property
    def drafted(self) -> tuple[int, int]:
        """Tokens drafted and accepted so far."""
        load = self._engine.scheduler.load(0)
        return load.drafted_tokens, load.accepted_tokens

    def row_cost(self) -> float:
        """What the scheduler has learned."""
        return float(self._engine.scheduler._pace.decode_row_cost(1))


def measure(bench: Bench, rounds: int) -> list[dict[str, Any]]:
    """A row of figures for each kind of task."""
    for kind in TASKS:  # warm up
        bench.answer(TASKS[kind][0], speculation=True, tally=Tally())
    rates: dict[tuple[str, bool], list[float]] = defaultdict(list)
    drafts: dict[str, list[int]] = {kind: [0, 0] for kind in TASKS}
    num_differing = dict.fromkeys(TASKS, 0)
    for _ in range(rounds):
        for kind, tasks in TASKS.items():
            tallies = {False: Tally(), True: Tally()}
            before = bench.drafted
            for task in tasks:
                plain = bench.answer(task, speculation=False, tally=tallies[False])
                drafted = bench.answer(task, speculation=True, tally=tallies[True])
                num_differing[kind] += plain != drafted
            drafts[kind] = [old + new - was for old, new, was in zip(drafts[kind], bench.drafted, before, strict=True)]
            for speculation, tally in tallies.items():
                rates[kind, speculation].append(tally.rate)
            print(f"{kind}: {tallies[False].rate:.1f} → {tallies[True].rate:.1f} tok/s", file=sys.stderr, flush=True)
    return [
        {
            "tasks": kind,
            "without": rates[kind, False],
            "with": rates[kind, True],
            "ratios": [b / a for a, b in zip(rates[kind, False], rates[kind, True], strict=True)],
            "drafted": drafts[kind][0],
            "accepted": drafts[kind][1],
            "differing_answers": num_differing[kind],
        }
        for kind in TASKS
    ]


def spread(values: list[float], digits: int) -> str:
    """Median (least–most)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder; default: the demo model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=160, help="most tokens of an answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    from tokenwire.cache import default_cache_dir
    from tokenwire.demo import fetch_demo_model

    model = arguments.model or fetch_demo_model(default_cache_dir())
    bench = Bench(model, tokens=arguments.tokens, temperature=arguments.temperature)
    rows = measure(bench, arguments.rounds)
    print(
        "| tasks | tok/s without | with | ratio | drafted | right | answers that differ |",
        "|---|" + "---|" * 6,
        sep="\n",
    )
    for row in rows:
        share = row["accepted"] / max(row["drafted"], 1)
        print(
            f"| {row['tasks']} | {spread(row['without'], 1)} | {spread(row['with'], 1)} | {spread(row['ratios'], 2)} "
            f"| {row['drafted']} | {share:.0%} | {row['differing_answers']} |"
        )
    print(f"\nA row costs {bench.row_cost():.3f} of a step of one stream.")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    import os

    if not OPENMP_ENVIRONMENT.items() <= os.environ.items():  # as the engine process has it, before torch is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **OPENMP_ENVIRONMENT})
    sys.path[:0] = [str(Path(__file__).parent.parent)]
    main()
