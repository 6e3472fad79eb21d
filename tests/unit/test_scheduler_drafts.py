"""The scheduler with drafts, step by step: what is drafted, and what becomes of it."""

from dataclasses import replace

import pytest

from support.made_up_model import GREEDY, LOOPING, make, request
from tokenwire.engine.protocol import FinishReason, SequenceOutput
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler

LONG = replace(GREEDY, max_tokens=20)
REPEATING = [1, 2, 3, 1, 2, 3]


def start(scheduler: Scheduler, prompt: list[int], *, max_tokens: int = 20, stop: tuple[int, ...] = ()) -> StepPlan:
    sampling = replace(GREEDY, max_tokens=max_tokens, stop_token_ids=stop)
    scheduler.submit(request("a", prompt, sampling=sampling), 0.0)
    return scheduler.plan(0.0)


def commit(scheduler: Scheduler, plan: StepPlan, *token_ids: int | None) -> tuple[SequenceOutput, ...]:
    outputs = scheduler.commit(plan, StepResult([tuple(map(Sample, token_ids))]))
    scheduler.check_integrity()
    return outputs


def test_right_drafts_are_taken_in_one_step_and_the_next_goes_on_behind_them() -> None:
    scheduler = make(speculation=True)
    plan = start(scheduler, REPEATING)
    (chunk,) = plan.chunks
    assert (chunk.positions, chunk.token_ids) == (range(11), [*REPEATING, 1, 2, 3, 1, 2])
    (output,) = commit(scheduler, plan, 1, 2, 9)
    assert (output.token_ids, output.finish_reason) == ((1, 2, 9), None)
    (chunk,) = scheduler.plan(0.0).chunks
    assert (chunk.start, chunk.token_ids) == (8, [9])
    load = scheduler.load(1)
    assert (load.drafted_tokens, load.accepted_tokens) == (5, 2)


@pytest.mark.parametrize(("max_tokens", "drafts"), [(1, ()), (3, (1, 2))])
def test_no_draft_goes_beyond_the_last_token(max_tokens: int, drafts: tuple[int, ...]) -> None:
    scheduler = make(speculation=True)
    (chunk,) = start(scheduler, REPEATING, max_tokens=max_tokens).chunks
    assert chunk.drafts == drafts


def test_a_token_that_ends_the_answer_is_not_drafted() -> None:
    (chunk,) = start(make(speculation=True), REPEATING, stop=(2,)).chunks
    assert chunk.drafts == (1,)


def test_what_a_grammar_expects_is_drafted() -> None:
    scheduler = make(speculation=True)
    plan = start(scheduler, [1, 2, 3])
    scheduler.commit(plan, StepResult([(Sample(5, expected=(6, 7)),)]))
    assert scheduler.plan(0.0).chunks[0].drafts == (6, 7)


def test_drafts_take_no_block_that_a_running_sequence_may_need() -> None:
    for blocks, drafts in ((3, 2), (4, 5)):
        scheduler = make(blocks=blocks, context=12, speculation=True)
        (chunk,) = start(scheduler, REPEATING, max_tokens=6).chunks
        assert len(chunk.drafts) == drafts


def test_rejected_tokens_are_not_found_in_the_prefix_cache() -> None:
    scheduler = make(speculation=True)
    commit(scheduler, start(scheduler, REPEATING), 9)
    scheduler.abort("a")
    scheduler.submit(request("b", [*REPEATING, 1, 2, 3, 1], sampling=LONG), 0.0)
    assert scheduler.plan(0.0).chunks[0].start == 4


def test_accepted_tokens_are_found_in_the_prefix_cache() -> None:
    scheduler = make(speculation=True)
    commit(scheduler, start(scheduler, REPEATING), 1, 2, 3)
    scheduler.abort("a")
    scheduler.submit(request("b", [*REPEATING, 1, 2, 3, 1], sampling=LONG), 0.0)
    assert scheduler.plan(0.0).chunks[0].start == 8


def test_a_fault_behind_right_drafts_comes_without_a_token_and_after_theirs() -> None:
    scheduler = make(speculation=True)
    tokens, fault = commit(scheduler, start(scheduler, REPEATING), 1, 2, None)
    assert (tokens.token_ids, tokens.finish_reason) == ((1, 2), None)
    assert (fault.token_ids, fault.finish_reason) == ((), FinishReason.FAULT)


def test_a_looping_answer_takes_fewer_steps_than_tokens() -> None:
    scheduler = make(speculation=True, context=128)
    scheduler.submit(request("a", [1, 2], sampling=replace(LONG, max_tokens=100)), 0.0)
    answer: list[int] = []
    num_steps = 0
    while scheduler.has_work:
        plan = scheduler.plan(0.0)
        for output in scheduler.commit(plan, LOOPING.run(plan)):
            answer += output.token_ids
        num_steps += 1
    assert answer == LOOPING.unbroken((1, 2), replace(LONG, max_tokens=100))[0]
    assert num_steps < 30
