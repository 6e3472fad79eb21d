"""The scheduler without a model: what a step of it costs, storms of preemptions, and bursts of prompts.

python tests/bench/scheduling.py [--json FILE]

The cost is measured; the rest happens in made-up time, where a step of d decodes and p tokens of prompts lasts
45 + 3 d + 2 p ms (a small model on two cores) or 6 + 0.03 (d + p) ms (8 billion parameters on a big GPU). Prints
Markdown tables.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.made_up_model import GREEDY, make, request
from support.made_up_time import MadeUpTime, StepTime, cpu_time, gpu_time
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling import headroom
from tokenwire.engine.scheduling.scheduler import Scheduler

LONG = replace(GREEDY, max_tokens=4000)
BURST = 32
Row = dict[str, Any]


def random_prompt(random: Random, num_tokens: int) -> list[int]:
    """Of tokens that the made-up model knows."""
    return [random.randrange(256) for _ in range(num_tokens)]


def step_ms(scheduler: Scheduler) -> float:
    """Time of planning a step and of taking in what it gave; the model itself takes none."""
    start = time.perf_counter()
    plan = scheduler.plan(0.0)
    planned = time.perf_counter()
    result = StepResult([(Sample(5),)] * plan.num_samples)
    elapsed_s = cpu_time(plan.num_decode_tokens, plan.num_tokens - plan.num_decode_tokens)
    computed = time.perf_counter()
    scheduler.commit(plan, result)
    scheduler.observe(plan, elapsed_s)
    return 1000 * (planned - start + time.perf_counter() - computed)


def cost_of_a_step(*, running: int, waiting: int, has_slots: bool = False, is_urgent: bool = False) -> Row:
    """Time of the scheduler's own work where `waiting` requests of 2,000 tokens wait for a slot, or for blocks."""
    random = Random(0)
    slots, blocks = (2 * running, 50 * running) if has_slots else (running, 300 * running)
    scheduler = make(blocks=max(blocks, 600), block_size=16, running=slots, tokens=4096, context=8192)
    for number in range(running):
        scheduler.submit(request(f"running {number}", random_prompt(random, 200), sampling=LONG), 0.0)
    for _ in range(300):
        step_ms(scheduler)
    for number in range(waiting):
        late = request(f"waiting {number}", random_prompt(random, 2000), sampling=LONG)
        scheduler.submit(replace(late, priority=int(is_urgent)), 0.0)
    times = [step_ms(scheduler) for _ in range(100)]
    load = scheduler.load(0)
    kept_out_by = "blocks" if has_slots else "slots"
    return {
        "running": load.running,
        "waiting": load.waiting,
        "kept out by": kept_out_by if waiting else "",
        "ms a step, median": round(statistics.median(times), 2),
        "most": round(max(times), 2),
    }


def storm(*, blocks: int, mean_answer: int, grows: bool) -> Row:
    """96 requests at once that may answer with 1,000 tokens each and do so with fewer; the cache is too small."""
    random, ends, needed = Random(0), {}, 0
    engine = MadeUpTime(make(blocks=blocks, block_size=16, running=32, tokens=512, context=2000), cpu_time)
    for number in range(96):
        prompt = random_prompt(random, random.randint(50, 400))
        ends[str(number)] = min(1000, 1 + int(random.expovariate(1 / mean_answer)))
        needed += len(prompt) + ends[str(number)] - 1
        engine.submit(request(str(number), prompt, sampling=replace(GREEDY, max_tokens=1000)))
    while engine.scheduler.has_work:
        for output in engine.step():
            if len(engine.tokens_s[output.request_id]) >= ends[output.request_id]:
                engine.scheduler.abort(output.request_id)
    computed = sum(plan.num_tokens for plan in engine.plans)
    gaps = sorted(gap for name in ends for gap in engine.gaps_s(name))
    return {
        "cache, tokens": 16 * blocks,
        "mean answer": mean_answer,
        "headroom": "grows" if grows else "one block",
        "preemptions": engine.scheduler.load(0).preemptions,
        "computed again, %": round(100 * (computed / needed - 1), 1),
        "gap p99, s": round(gaps[len(gaps) * 99 // 100], 2),
        "all done, s": round(engine.now, 1),
    }


def burst(step_time: StepTime, *, prompt_tokens: int, is_paced: bool) -> Row:
    """32 prompts that come together while nobody decodes, and 96 tokens of answer to each."""
    engine = MadeUpTime(
        make(blocks=6000, block_size=16, running=64, tokens=512, context=2000), step_time, is_paced=is_paced
    )
    for number in range(10):  # so that the costs are known
        engine.submit(request(f"before {number}", [number] * 40))
        engine.finish()
    start = engine.now
    names = [f"burst {number}" for number in range(BURST)]
    for number, name in enumerate(names):
        engine.submit(request(name, [number, *[7] * (prompt_tokens - 1)], sampling=replace(GREEDY, max_tokens=96)))
    engine.finish()
    first = sorted(engine.first_token_s(name) for name in names)
    gaps = sorted(gap for name in names for gap in engine.gaps_s(name))
    return {
        "time of": "two cores" if step_time is cpu_time else "a big GPU",
        "prompt": prompt_tokens,
        "budget": "by time" if is_paced else "by tokens",
        "first token mean, s": round(statistics.mean(first), 2),
        "p50": round(first[BURST // 2], 2),
        "last": round(first[-1], 2),
        "gap p50, ms": round(1000 * gaps[len(gaps) // 2]),
        "p99": round(1000 * gaps[len(gaps) * 99 // 100]),
        "all done, s": round(engine.now - start, 2),
    }


def storms() -> Iterator[Row]:
    """With the headroom as it is, and without its growth."""
    growth = headroom._GROWTH
    for blocks, mean_answer in ((130, 100), (130, 400), (200, 400), (600, 400)):
        for headroom._GROWTH in (1.0, growth):
            yield storm(blocks=blocks, mean_answer=mean_answer, grows=headroom._GROWTH > 1)


def table(title: str, rows: list[Row]) -> str:
    """As Markdown."""
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return "\n".join([f"\n{title}\n", *lines])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = {
        "The scheduler's own work": [
            cost_of_a_step(running=1, waiting=0),
            cost_of_a_step(running=64, waiting=0),
            cost_of_a_step(running=64, waiting=256),
            cost_of_a_step(running=64, waiting=256, has_slots=True),
            cost_of_a_step(running=64, waiting=256, has_slots=True, is_urgent=True),
        ],
        "Storms of preemptions": list(storms()),
        "A burst of 32 prompts": [
            burst(step_time, prompt_tokens=prompt_tokens, is_paced=is_paced)
            for step_time in (cpu_time, gpu_time)
            for prompt_tokens in (43, 256, 1024)
            for is_paced in (False, True)
        ],
    }
    for title, rows in figures.items():
        print(table(title, rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
