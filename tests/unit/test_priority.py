"""Priority in the scheduler: who runs first, and who gives way."""

from dataclasses import replace

import pytest

from support.made_up_model import GREEDY, make, request, run, unbroken
from tokenwire.engine.protocol import GenerationRequest
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler

LONG = replace(GREEDY, max_tokens=12)


def urgent(name: str, prompt: list[int], *, priority: int = 5, n: int = 1) -> GenerationRequest:
    return replace(request(name, prompt, n=n, sampling=LONG), priority=priority)


def submit(scheduler: Scheduler, *requests: GenerationRequest) -> None:
    for one in requests:
        scheduler.submit(one, 0.0)


def step(scheduler: Scheduler) -> StepPlan:
    plan = scheduler.plan(0.0)
    scheduler.commit(plan, run(plan))
    scheduler.check_integrity()
    return plan


def names(plan: StepPlan) -> list[str]:
    return [chunk.sequence.request_id for chunk in plan.chunks]


def finish(scheduler: Scheduler) -> dict[str, list[int]]:
    """The answers that are still to come, by request, in the order of their ends."""
    answers: dict[str, list[int]] = {}
    ended: dict[str, list[int]] = {}
    while scheduler.has_work:
        plan = scheduler.plan(0.0)
        for output in scheduler.commit(plan, run(plan)):
            answers.setdefault(output.request_id, []).extend(output.token_ids)
            if output.finish_reason is not None:
                ended[output.request_id] = answers[output.request_id]
    return ended


def test_those_that_wait_start_by_priority_then_by_arrival() -> None:
    scheduler = make(running=1)
    priorities = {"a": 0, "b": 2, "c": 0, "d": 2}
    submit(scheduler, *(urgent(name, [1], priority=priority) for name, priority in priorities.items()))
    assert list(finish(scheduler)) == ["b", "d", "a", "c"]


def test_a_full_batch_gives_the_slot_of_its_lowest_and_latest() -> None:
    scheduler = make(running=3)
    submit(scheduler, urgent("low", [1], priority=-1), urgent("a", [2], priority=0), urgent("b", [3], priority=0))
    assert names(step(scheduler)) == ["a", "b", "low"]
    submit(scheduler, urgent("first", [4]))
    assert names(step(scheduler)) == ["first", "a", "b"]
    submit(scheduler, urgent("second", [5]))
    assert names(step(scheduler)) == ["first", "second", "a"]


def test_the_preempted_comes_back_once_and_its_answer_is_that_of_an_unbroken_run() -> None:
    scheduler = make(running=1)
    submit(scheduler, urgent("low", [1, 2], priority=0))
    step(scheduler)
    submit(scheduler, urgent("high", [3, 4]))
    answers = finish(scheduler)
    assert list(answers) == ["high", "low"]
    assert scheduler.load(0).preemptions == 1
    assert [unbroken((1, 2), LONG)[0][0], *answers["low"]] == unbroken((1, 2), LONG)[0]


def test_equal_priority_displaces_nobody() -> None:
    scheduler = make(running=1)
    submit(scheduler, urgent("a", [1]))
    step(scheduler)
    submit(scheduler, urgent("b", [2]))
    assert list(finish(scheduler)) == ["a", "b"]
    assert scheduler.load(0).preemptions == 0


def test_a_full_cache_gives_the_blocks_of_the_lowest() -> None:
    scheduler = make(blocks=8, tokens=32, context=32)  # 32 tokens
    submit(scheduler, urgent("a", [1] * 9, priority=1), urgent("low", [2] * 9, priority=0))
    assert names(step(scheduler)) == ["a", "low"]
    submit(scheduler, urgent("high", [3] * 12))
    assert names(step(scheduler)) == ["high", "a"]


def test_nobody_is_preempted_in_vain() -> None:
    scheduler = make(blocks=8, tokens=32, context=32)
    submit(scheduler, urgent("equal", [1] * 17), urgent("low", [2], priority=0))
    step(scheduler)
    submit(scheduler, urgent("high", [3] * 12))  # 3 blocks of the 8 are not enough beside the 5 of its equal
    assert names(step(scheduler)) == ["equal", "low"]
    assert scheduler.load(0).preemptions == 0


def test_the_prompt_of_a_higher_priority_is_computed_before_the_rest_of_a_lower_one() -> None:
    scheduler = make(tokens=16)
    submit(scheduler, urgent("low", [1] * 48, priority=0))
    step(scheduler)
    submit(scheduler, urgent("high", [2] * 20))
    work = [[(chunk.sequence.request_id, chunk.count) for chunk in step(scheduler).chunks] for _ in range(2)]
    assert work == [[("high", 16)], [("high", 4), ("low", 12)]]


def test_children_take_their_places_with_the_priority_of_their_request() -> None:
    scheduler = make(running=2)
    submit(scheduler, urgent("a", [1], priority=0), urgent("b", [2], priority=0))
    step(scheduler)
    submit(scheduler, urgent("high", [3] * 5, n=2))
    assert [names(step(scheduler)) for _ in range(2)] == [["high", "a"], ["high", "high"]]


@pytest.mark.parametrize("running", [1, 4])
def test_a_forced_preemption_changes_no_answer(running: int) -> None:
    scheduler = make(running=running)
    prompts = {name: [number] * 6 for number, name in enumerate("abc", start=1)}
    submit(scheduler, *(urgent(name, prompt, priority=0) for name, prompt in prompts.items()))
    answers: dict[str, list[int]] = {name: [] for name in prompts}
    while scheduler.has_work:
        plan = scheduler.plan(0.0)
        for output in scheduler.commit(plan, run(plan)):
            answers[output.request_id] += output.token_ids
        scheduler.preempt_all()
        scheduler.check_integrity()
    assert answers == {name: unbroken(tuple(prompt), LONG)[0] for name, prompt in prompts.items()}
