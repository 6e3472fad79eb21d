"""What long prompts cost the answers beside them, and what the prefix cache saves: the engine's steps on a real model.

python tests/bench/pace.py MODEL [--threads 2] [--rounds 3] [--seconds 20] [--every 5] [--json FILE]

Two engines in this process take turns: "paced" bounds prompts by time as the server does, "fixed" by tokens alone.
Eight streams decode while a prompt of 2,000 tokens, new each time, comes every few seconds. Prints Markdown tables.
"""

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from transformers import AutoTokenizer

from support.inline_engine import InlineEngine, token_ids
from tokenwire.engine.protocol import SamplingParams, SequenceOutput

STREAMS, STREAM_PROMPT_TOKENS, LONG_PROMPT_TOKENS = 8, 40, 2000
PREFIX_TOKENS, TAIL_TOKENS = 1024, 32
WARM_STEPS = 20
FIRST_TOKEN = SamplingParams(seed=0, max_tokens=1)


@dataclass(slots=True)
class Gaps:
    """What streams and prompts of one kind of engine met, in seconds."""

    alone_s: list[float] = field(default_factory=list)
    """Between the tokens of a stream, before the first prompt came."""
    beside_s: list[float] = field(default_factory=list)
    """The same from then on."""
    first_token_s: list[float] = field(default_factory=list)
    """Of the long prompts, from their arrival."""


class Prompts:
    """Prompts of random token ids: none is in the prefix cache."""

    def __init__(self, vocabulary_size: int) -> None:
        self._random = Random(0)
        self._most = vocabulary_size - 1

    def new(self, num_tokens: int) -> list[int]:
        """One more."""
        return [self._random.randint(100, self._most) for _ in range(num_tokens)]


def measure_gaps(engine: InlineEngine, prompts: Prompts, gaps: Gaps, *, is_timed: bool, arguments: Any) -> None:
    """One round: streams alone for some steps, then beside prompts."""
    sampling = SamplingParams(seed=0, max_tokens=2000, ignore_eos=True)
    names = [f"stream {number}" for number in range(STREAMS)]
    for name in names:
        engine.submit(name, prompts.new(STREAM_PROMPT_TOKENS), sampling)
    for _ in range(STREAMS + WARM_STEPS):
        engine.step(is_timed=is_timed)
    arrivals: dict[str, list[float]] = defaultdict(list)

    def step() -> None:
        outputs = engine.step(is_timed=is_timed)
        now = time.perf_counter()
        for output in outputs:
            arrivals[output.request_id] += [now]

    for _ in range(WARM_STEPS):
        step()
    gaps.alone_s += [later - earlier for name in names for earlier, later in pairwise(arrivals[name])]
    arrivals.clear()
    start = time.perf_counter()
    submitted: list[float] = []
    while (now := time.perf_counter()) < start + arguments.seconds:
        if now >= start + arguments.every * len(submitted):
            submitted.append(start + arguments.every * len(submitted))
            engine.submit(f"prompt {len(submitted)}", prompts.new(LONG_PROMPT_TOKENS), FIRST_TOKEN)
        step()
    gaps.beside_s += [later - earlier for name in names for earlier, later in pairwise(arrivals[name])]
    while len(arrivals) < STREAMS + len(submitted):
        step()
    gaps.first_token_s += [arrivals[f"prompt {number}"][0] - due for number, due in enumerate(submitted, start=1)]
    for name in names:
        engine.scheduler.abort(name)


def first_token_s(engine: InlineEngine, prompt: list[int]) -> float:
    """Time to the first token of a prompt on an idle engine."""
    start = time.perf_counter()
    engine.submit("one", prompt, FIRST_TOKEN)
    engine.run()
    return time.perf_counter() - start


def measure_prefix(engine: InlineEngine, prompts: Prompts, *, rounds: int) -> tuple[list[float], list[float]]:
    """Times to the first token behind a long prefix that is new, and behind one that was seen."""
    cold, warm = [], []
    for _ in range(rounds):
        prefix = prompts.new(PREFIX_TOKENS)
        cold.append(first_token_s(engine, prefix + prompts.new(TAIL_TOKENS)))
        warm += [first_token_s(engine, prefix + prompts.new(TAIL_TOKENS)) for _ in range(3)]
    return cold, warm


def second_turn(engine: InlineEngine, folder: Path) -> tuple[int, int, int]:
    """Tokens of a conversation's second prompt, of its history, and of what was found in the cache."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def answer(chat: list[dict[str, str]]) -> tuple[list[int], list[SequenceOutput]]:
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        engine.submit("turn", prompt, SamplingParams(seed=0, max_tokens=200, temperature=0))
        return prompt, engine.run()["turn", 0]

    chat = [{"role": "user", "content": "Tell me about the history of the city of Paris, and why people go there."}]
    prompt, outputs = answer(chat)
    given = token_ids(outputs)
    chat += [{"role": "assistant", "content": tokenizer.decode(given, skip_special_tokens=True)}]
    chat += [{"role": "user", "content": "And what about its food?"}]
    longer, outputs = answer(chat)
    return len(longer), len(prompt) + len(given), outputs[0].cached_tokens


def percentile(values: list[float], share: float) -> float:
    """Of the values, by the nearest rank below."""
    return sorted(values)[int(share * (len(values) - 1))]


def print_gaps(results: dict[str, Gaps]) -> None:
    """A table of the gaps, ms."""
    print(
        "| prompts | gap alone p50 | gap beside prompts p50 / p99 / most | p99 over alone | over p50 "
        "| first token of a prompt p50 / most |\n|---|---|---|---|---|---|"
    )
    for name, gaps in results.items():
        alone, p50, p99, most = (
            1000 * percentile(values, share)
            for values, share in ((gaps.alone_s, 0.5), *((gaps.beside_s, share) for share in (0.5, 0.99, 1)))
        )
        first = [1000 * percentile(gaps.first_token_s, share) for share in (0.5, 1)]
        print(
            f"| {name} | {alone:.0f} | {p50:.0f} / {p99:.0f} / {most:.0f} | {p99 / alone:.2f} | {p99 / p50:.2f} "
            f"| {first[0]:.0f} / {first[1]:.0f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of a round of one engine")
    parser.add_argument("--every", type=float, default=5, help="seconds between the long prompts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # Without speculation: a gap is a step then.
    engines = {name: InlineEngine(arguments.model, speculation=False) for name in ("fixed", "paced")}
    prompts = Prompts(engines["paced"].info.vocabulary_size)
    results = {name: Gaps() for name in engines}
    for _ in range(arguments.rounds):
        for name, engine in engines.items():
            measure_gaps(engine, prompts, results[name], is_timed=name == "paced", arguments=arguments)
    print_gaps(results)
    cold, warm = measure_prefix(engines["fixed"], prompts, rounds=2 * arguments.rounds)
    ratio = statistics.median(cold) / statistics.median(warm)
    print(f"\n| first token behind {PREFIX_TOKENS} tokens, ms | median (least-most) |\n|---|---|")
    for label, times in (("never seen", cold), ("in the prefix cache", warm)):
        print(f"| {label} | {1000 * statistics.median(times):.0f} ({1000 * min(times):.0f}-{1000 * max(times):.0f}) |")
    print(f"\n{ratio:.1f} times shorter.")
    tokens, history, cached = second_turn(engines["fixed"], arguments.model)
    print(f"\nA second turn of {tokens} tokens: {history} are history, {cached} were found in the cache.")
    if arguments.json:
        figures: dict[str, Any] = {name: asdict(gaps) for name, gaps in results.items()}
        figures |= {"cold_s": cold, "warm_s": warm, "second_turn": [tokens, history, cached]}
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
