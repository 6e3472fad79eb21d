"""The pace: prompts take so much of a step that answers go on, and no less."""

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.made_up_model import GREEDY, make, request
from support.made_up_time import MadeUpTime, StepTime, cpu_time, gpu_time
from tokenwire.engine.scheduling.pace import Pace

LEAST, MOST = 16, 2048
SECONDS = st.floats(1e-5, 1e-1)


def new_pace() -> Pace:
    return Pace(least_tokens=LEAST, most_tokens=MOST)


def learn(pace: Pace, step_time: StepTime, *, steps: int, decoding: int = 8, prompts: int = 1) -> list[int]:
    """Steps with and without prompts by turns; the budgets of those with."""
    budgets = []
    for _ in range(steps):
        pace.observe(decode_tokens=decoding, prefill_tokens=0, elapsed_s=step_time(decoding, 0))
        budgets.append(pace.prefill_budget(decoding=decoding, prompts=prompts))
        elapsed_s = step_time(decoding, budgets[-1])
        pace.observe(decode_tokens=decoding, prefill_tokens=budgets[-1], elapsed_s=elapsed_s)
    return budgets


def stretch(step_time: StepTime, budget: int, decoding: int = 8) -> float:
    return step_time(decoding, budget) / step_time(decoding, 0)


def test_prompts_take_all_where_nobody_decodes_or_nothing_is_known() -> None:
    pace = new_pace()
    assert pace.prefill_budget(decoding=8, prompts=1) == MOST
    learn(pace, cpu_time, steps=10)
    assert pace.prefill_budget(decoding=0, prompts=32) == MOST


@given(step=SECONDS, decode=SECONDS, prefill=SECONDS, decoding=st.integers(1, 64))
def test_a_step_with_prompts_lasts_as_long_as_the_rule_says_whatever_steps_cost(
    step: float, decode: float, prefill: float, decoding: int
) -> None:
    def step_time(decodes: int, prompt_tokens: int) -> float:
        return step + decode * decodes + prefill * prompt_tokens

    pace = new_pace()
    budgets = learn(pace, step_time, steps=40, decoding=decoding)[-8:]
    ratios = [stretch(step_time, budget, decoding) for budget in budgets]
    bounds = LEAST, MOST
    assert all(ratio < 3 or budget == LEAST for ratio, budget in zip(ratios, budgets, strict=True))
    assert sum(ratio > 2 or budget in bounds for ratio, budget in zip(ratios, budgets, strict=True)) >= 7
    assert pace.decode_step_s(decoding) == pytest.approx(step_time(decoding, 0), rel=0.25)


@given(
    st.lists(st.tuples(st.integers(0, 64), st.integers(0, 512), st.floats(0, 1e6)), max_size=30),
    st.integers(0, 64),
    st.integers(0, 300),
)
def test_every_budget_is_within_its_bounds_whatever_was_measured(
    steps: list[tuple[int, int, float]], decoding: int, prompts: int
) -> None:
    pace = new_pace()
    for decode_tokens, prefill_tokens, elapsed_s in steps:
        pace.observe(decode_tokens=decode_tokens, prefill_tokens=prefill_tokens, elapsed_s=elapsed_s)
        assert LEAST <= pace.prefill_budget(decoding=decoding, prompts=prompts) <= MOST
        assert pace.prefill_tokens_per_s >= 0


def test_many_that_wait_for_their_first_token_outweigh_few_that_wait_for_their_next() -> None:
    pace = new_pace()
    learn(pace, cpu_time, steps=40)
    budgets = [pace.prefill_budget(decoding=8, prompts=prompts) for prompts in (1, 8, 16, 32)]
    assert budgets[0] == budgets[1]
    assert [stretch(cpu_time, budget) for budget in budgets[1:]] == pytest.approx([2.5, 4, 7], rel=0.15)


def test_a_single_stall_moves_the_budget_little() -> None:
    for decode_tokens, prefill_tokens in ((8, 0), (8, 50), (0, 512)):
        pace = new_pace()
        learn(pace, cpu_time, steps=40)
        before = pace.prefill_budget(decoding=8, prompts=1)
        pace.observe(decode_tokens=decode_tokens, prefill_tokens=prefill_tokens, elapsed_s=60)
        assert pace.prefill_budget(decoding=8, prompts=1) == pytest.approx(before, rel=0.2)


@pytest.mark.parametrize("factor", [0.1, 0.5, 3, 30])
def test_a_lasting_change_of_what_prompts_cost_is_followed_within_a_few_steps(factor: float) -> None:
    pace = new_pace()
    learn(pace, cpu_time, steps=40)

    def changed(decodes: int, prefill: int) -> float:
        return cpu_time(decodes, 0) + factor * (cpu_time(decodes, prefill) - cpu_time(decodes, 0))

    budget = max(learn(pace, changed, steps=12)[-2:])
    assert 1.9 < stretch(changed, budget) < 3 or budget == LEAST


@pytest.mark.parametrize("step_time", [cpu_time, gpu_time])
def test_a_first_step_that_takes_a_minute_is_forgotten_within_a_few(step_time: StepTime) -> None:
    pace = new_pace()
    pace.observe(decode_tokens=0, prefill_tokens=512, elapsed_s=60)
    assert 1.7 < stretch(step_time, max(learn(pace, step_time, steps=12)[-2:])) < 3


def test_prompts_that_are_slow_to_begin_are_not_computed_in_crumbs() -> None:
    def step_time(decodes: int, prefill: int) -> float:
        """Captured graphs decode a small model in 1 ms; anything else takes 5 ms more, however small."""
        return 0.001 + 0.00002 * decodes + (0.005 + 0.00001 * prefill if prefill else 0)

    pace = new_pace()
    for _ in range(5):
        pace.observe(decode_tokens=0, prefill_tokens=MOST, elapsed_s=step_time(0, MOST))
    budget = max(learn(pace, step_time, steps=60)[-2:])
    assert budget > 100  # with no regard to the start it is 16
    assert step_time(8, budget) < 2 * step_time(8, 1)


@pytest.mark.parametrize("step_time", [cpu_time, gpu_time])
@pytest.mark.parametrize(("is_paced", "bounded"), [(True, True), (False, False)])
def test_gaps_stay_within_three_times_the_usual_while_long_prompts_arrive(
    step_time: StepTime, is_paced: bool, bounded: bool
) -> None:
    scheduler = make(blocks=1500, block_size=16, running=16, tokens=1024, context=2500)
    engine = MadeUpTime(scheduler, step_time, is_paced)
    streams = [f"stream {number}" for number in range(8)]
    for number, name in enumerate(streams):
        engine.submit(request(name, [number] * 40, sampling=replace(GREEDY, max_tokens=400)))
    for number in range(400):
        if number % 80 == 20:
            engine.submit(request(f"prompt {number}", [number % 256, *[7] * 1999]))
        engine.step()
    alone = step_time(8, 0)
    gaps = sorted(chain.from_iterable(engine.gaps_s(name)[20:] for name in streams))
    assert gaps[len(gaps) // 2] < 2.6 * alone
    assert (gaps[len(gaps) * 99 // 100] <= 3 * alone) is bounded
    # Prompts have three fifths of the time, one in eight of their steps less.
    assert engine.first_token_s("prompt 340") < 2.2 * step_time(0, 2000)


def test_a_burst_is_computed_in_full_steps_as_long_as_many_more_wait_than_decode() -> None:
    engine = MadeUpTime(make(blocks=2000, block_size=16, running=32, tokens=512, context=600), cpu_time)
    for number in range(10):
        engine.submit(request(f"before {number}", [number] * 40))
        engine.finish()
    engine.plans.clear()
    for number in range(32):
        engine.submit(request(f"burst {number}", [number, *[7] * 255], sampling=replace(GREEDY, max_tokens=100)))
    for _ in range(20):
        engine.step()
    tokens = [plan.num_tokens for plan in engine.plans]
    assert tokens[:2] == [512, 512]  # nobody decodes, then two
    assert sum(tokens[2:8]) > sum(tokens[8:14]) > sum(tokens[14:20]) > 6 * 50


def test_a_long_prompt_gets_on_while_more_short_ones_arrive_than_can_be_served() -> None:
    engine = MadeUpTime(make(blocks=2000, block_size=16, running=16, tokens=512, context=3000), cpu_time)
    for number in range(60):
        if number == 20:
            engine.submit(request("long", [9] * 2000))
        for short in range(2):
            prompt = [number, short, *[7] * 48]
            engine.submit(request(f"short {number} {short}", prompt, sampling=replace(GREEDY, max_tokens=20)))
        engine.step()
    while not engine.tokens_s["long"]:
        engine.step()
    # Those before it come first, and half of the time at least goes to prompts.
    assert engine.first_token_s("long") < 2 * (cpu_time(0, 2000) + 20 * 2 * cpu_time(0, 50))


def test_a_lower_priority_gets_on_in_what_higher_ones_leave_of_the_batch() -> None:
    engine = MadeUpTime(make(running=2, tokens=32), cpu_time)
    engine.submit(replace(request("low", [1, 2]), priority=-1))
    for number in range(12):
        engine.submit(replace(request(f"high {number}", [3, number]), priority=1))
        engine.step()
        engine.step()
        engine.step()
        engine.step()
    assert len(engine.tokens_s["low"]) == 4
    assert len(engine.tokens_s["high 11"]) == 4
