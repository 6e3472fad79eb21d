"""How good the estimate of the wait is, against a simulation of an engine that runs sequences side by side."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles

import pytest

from tokenwire.chat.admission.answer_length import AnswerLength
from tokenwire.chat.admission.place import Demand, Place, Progress
from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.chat.admission.wait import Ahead, wait_s
from tokenwire.engine.protocol import EngineLoad

STEP_S, PREFILL_TOKENS_PER_S, PROMPT_TOKENS, SLOTS = 0.02, 5000.0, 50, 16
LOAD = EngineLoad(decode_step_s=STEP_S, prefill_tokens_per_s=PREFILL_TOKENS_PER_S, running=SLOTS)


@dataclass(frozen=True)
class Workload:
    """How long answers are, and what is said of it."""

    draw: Callable[[Random], int]
    max_tokens: int


WORKLOADS = {
    "all equally long": Workload(lambda random: 100, 100),
    "end by themselves": Workload(lambda random: 1 + int(random.expovariate(1 / 80)), 4000),
    "some are cut": Workload(lambda random: min(100, 1 + int(random.expovariate(1 / 80))), 100),
    "between 20 and 200": Workload(lambda random: random.randint(20, 200), 1000),
}


def simulate(workload: Workload, *, num_requests: int, overload: float) -> Iterator[tuple[float, float]]:
    """(estimate, real wait) in seconds of the requests that waited, once some answers are known."""
    random = Random(1)
    queue = Queue(max_choices=10_000, max_tokens=10**9, max_running=SLOTS)
    lengths: dict[Place, int] = {}
    estimates: dict[Place, tuple[float, float]] = {}
    running: list[Place] = []
    begun: list[Place] = []  # the engine has it, and it lacks a slot
    now, next_arrival, mean_length = 0.0, 0.0, 80
    gap_s = (mean_length * STEP_S + PROMPT_TOKENS / PREFILL_TOKENS_PER_S * SLOTS) / SLOTS
    arrivals = 0
    while arrivals < num_requests or running or begun:
        while next_arrival <= now and arrivals < num_requests:
            place = queue.reserve(Tenant(), 1, load=LOAD)
            demand = Demand(prompt_tokens=PROMPT_TOKENS, max_tokens=workload.max_tokens)
            queue.enter(place, demand, load=LOAD, now=now)
            lengths[place] = workload.draw(random)
            if (estimate := queue.wait_s(place, load=LOAD)) is not None and arrivals > 200:
                estimates[place] = (estimate, now)
            arrivals += 1
            # Bursts and pauses: the queue grows and empties again.
            pressure = overload if arrivals // 100 % 2 else 0.7
            next_arrival += random.expovariate(1 / (gap_s / pressure))
        while (following := queue.next(LOAD)) is not None:
            begun.append(following)
        started = begun[: SLOTS - len(running)]
        del begun[: len(started)]
        for place in started:
            running.append(place)
            if place in estimates:
                estimate, entered = estimates[place]
                if now - entered > 0.5:
                    yield estimate, now - entered
        now += STEP_S + len(started) * PROMPT_TOKENS / PREFILL_TOKENS_PER_S
        for place in tuple(running):
            tokens = place.progress.tokens + 1
            if tokens < lengths[place]:
                queue.note(place, Progress(tokens=tokens, live_choices=1))
                continue
            own = int(tokens < workload.max_tokens)
            queue.note(place, Progress(tokens=tokens, live_choices=0, own_ends=own))
            queue.release(place)
            running.remove(place)


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_estimate_is_near_the_wait_and_seldom_twice_as_long(name: str) -> None:
    ratios = [estimate / wait for estimate, wait in simulate(WORKLOADS[name], num_requests=1500, overload=1.6)]
    assert len(ratios) > 100
    low, *_, high = quantiles(ratios, n=100)
    assert 0.75 < median(ratios) < 1.33, (name, median(ratios))
    assert high < 2.0, (name, low, high)


def test_nothing_is_told_before_the_engines_pace_is_known() -> None:
    ahead = Ahead(left=(10, 10), num_choices=0, prompt_tokens=0, mean_answer=10, next_answer=10)
    assert wait_s(ahead, EngineLoad(), slots=2) is None
    assert wait_s(ahead, EngineLoad(), slots=3) == 0.0


def test_the_mean_of_cut_answers_is_that_of_whole_ones() -> None:
    random, length = Random(2), AnswerLength()
    for _ in range(2000):
        whole = 1 + int(random.expovariate(1 / 200))
        length.observe(tokens=min(whole, 100), ends=int(whole < 100))
    assert 150 < length.mean < 260
    assert length.expected(10) < 10.001
    assert length.expected(10**6) == pytest.approx(length.mean)
