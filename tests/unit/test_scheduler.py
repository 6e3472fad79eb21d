"""The scheduler, step by step: who runs when, on how many tokens, and what becomes of slots and blocks."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from support.made_up_model import EOS, GREEDY, make, request, run, unbroken
from tokenwire.engine.protocol import FinishReason, GenerationRequest, SequenceOutput
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler


def step(scheduler: Scheduler, now: float = 0.0) -> tuple[SequenceOutput, ...]:
    plan = scheduler.plan(now)
    return scheduler.commit(plan, run(plan))


def finish(scheduler: Scheduler, *, most_steps: int = 500) -> dict[tuple[str, int], list[int]]:
    """Step until nothing is live; the answers by request and index."""
    answers: dict[tuple[str, int], list[int]] = defaultdict(list)
    for _ in range(most_steps):
        if not scheduler.has_work:
            return dict(answers)
        for output in step(scheduler):
            answers[output.request_id, output.index] += output.token_ids
    raise AssertionError(f"still at work after {most_steps} steps")


def work(plan: StepPlan) -> list[tuple[str, int, int]]:
    return [(chunk.sequence.request_id, chunk.start, chunk.count) for chunk in plan.chunks]


def test_a_prompt_is_computed_then_one_token_a_step() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1, 2, 3]), 0.0)
    plans = []
    while scheduler.has_work:
        plans.append(scheduler.plan(0.0))
        scheduler.commit(plans[-1], run(plans[-1]))
    assert [work(plan) for plan in plans] == [[("a", 0, 3)], [("a", 3, 1)], [("a", 4, 1)], [("a", 5, 1)]]
    assert scheduler.load(4).free_blocks == scheduler.load(4).total_blocks == 64


def test_a_long_prompt_is_computed_in_chunks_and_only_the_last_one_samples() -> None:
    scheduler = make(tokens=16)
    scheduler.submit(request("a", [1] * 40), 0.0)
    counts = []
    for _ in range(3):
        plan = scheduler.plan(0.0)
        counts.append([(chunk.count, chunk.samples) for chunk in plan.chunks])
        scheduler.commit(plan, run(plan))
    assert counts == [[(16, False)], [(16, False)], [(8, True)]]


def test_decodes_get_their_token_beside_a_long_prompt() -> None:
    scheduler = make(tokens=16)
    for name in ("a", "b"):
        scheduler.submit(request(name, [2] * 3, sampling=replace(GREEDY, max_tokens=20)), 0.0)
    step(scheduler)
    scheduler.submit(request("long", [1] * 40), 0.0)
    assert work(scheduler.plan(0.0)) == [("a", 3, 1), ("b", 3, 1), ("long", 0, 14)]


def test_an_earlier_prefill_leaves_later_decodes_their_token() -> None:
    scheduler = make(tokens=16)
    scheduler.submit(request("a", [1] * 40, n=2), 0.0)
    scheduler.submit(request("b", [2] * 3, sampling=replace(GREEDY, max_tokens=20)), 0.0)
    step(scheduler)
    step(scheduler)
    # The leader fails, so that the second sequence of "a" has a whole prompt to compute while "b" decodes.
    scheduler.commit(scheduler.plan(0.0), StepResult([(Sample(None),), (Sample(5),)]))
    step(scheduler)
    assert work(scheduler.plan(0.0)) == [("a", 15, 15), ("b", 4, 1)]


def test_requests_start_in_order_of_arrival_when_slots_are_short() -> None:
    scheduler = make(running=1)
    for name in "abc":
        scheduler.submit(request(name, [1, 2]), 0.0)
    finished = []
    while scheduler.has_work:
        finished += [output.request_id for output in step(scheduler) if output.finish_reason]
    assert finished == ["a", "b", "c"]


def test_queue_time_and_cached_tokens_are_told_in_every_output() -> None:
    scheduler = make()
    scheduler.submit(request("a", list(range(1, 10))), 1.0)
    finish(scheduler)
    scheduler.submit(request("b", [*range(1, 9), 15, 15]), 5.0)
    outputs = [*step(scheduler, 7.5), *step(scheduler, 8.0)]
    assert [(output.cached_tokens, output.queue_s) for output in outputs] == [(8, 2.5), (8, 2.5)]


def test_a_cached_prompt_still_computes_its_last_token() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1] * 8), 0.0)
    finish(scheduler)
    scheduler.submit(request("b", [1] * 8), 0.0)
    assert work(scheduler.plan(0.0)) == [("b", 4, 4)]


def test_an_answer_is_found_in_the_cache_by_the_next_turn() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1] * 6, sampling=replace(GREEDY, max_tokens=8)), 0.0)
    answer = finish(scheduler)["a", 0]
    scheduler.submit(request("b", [1] * 6 + answer + [2, 2]), 0.0)
    assert work(scheduler.plan(0.0)) == [("b", 12, 4)]


def test_children_wait_for_the_prompt_and_share_its_blocks() -> None:
    scheduler = make(tokens=12)
    scheduler.submit(request("a", [1] * 18, n=3), 0.0)
    outputs = [*step(scheduler), *step(scheduler)]
    assert [(output.index, output.cached_tokens) for output in outputs] == [(0, 0)]
    plan = scheduler.plan(0.0)
    assert work(plan) == [("a", 18, 1), ("a", 16, 2), ("a", 16, 2)]
    assert {output.cached_tokens for output in scheduler.commit(plan, run(plan))} == {0}
    leader, *children = [chunk.sequence.block_table for chunk in plan.chunks]
    assert all(table[:4] == leader[:4] and table[4] != leader[4] for table in children)


def test_children_sample_with_their_own_seed() -> None:
    scheduler = make()
    sampling = replace(GREEDY, seed=2**63 - 1)
    scheduler.submit(request("a", [1, 2, 3], n=2, sampling=sampling), 0.0)
    assert finish(scheduler) == {
        ("a", 0): unbroken((1, 2, 3), sampling)[0],
        ("a", 1): unbroken((1, 2, 3), replace(sampling, seed=-(2**63)))[0],
    }


def test_the_next_sequence_leads_when_the_leader_is_aborted() -> None:
    scheduler = make(tokens=12)
    scheduler.submit(request("a", [1] * 18, n=3), 0.0)
    step(scheduler)
    assert [output.index for output in scheduler.abort("a", 0)] == [0]
    plan = scheduler.plan(0.0)
    assert [(chunk.sequence.index, chunk.start) for chunk in plan.chunks] == [(1, 12)]
    scheduler.commit(plan, run(plan))
    assert set(finish(scheduler)) == {("a", 1), ("a", 2)}


def test_abort_frees_slot_and_blocks_within_the_call() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1] * 9, n=2), 0.0)
    step(scheduler)
    step(scheduler)
    outputs = scheduler.abort("a")
    assert [(output.index, output.finish_reason) for output in outputs] == [
        (0, FinishReason.ABORTED),
        (1, FinishReason.ABORTED),
    ]
    load = scheduler.load(2)
    assert (load.running, load.waiting, load.free_blocks) == (0, 0, 64)
    assert not scheduler.has_work


def test_abort_of_what_is_not_live_is_harmless() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1]), 0.0)
    assert scheduler.abort("b") == ()
    assert scheduler.abort("a", 1) == ()
    finish(scheduler)
    assert scheduler.abort("a") == ()


def test_a_sequence_aborted_while_its_step_runs_gives_no_output() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1, 2]), 0.0)
    scheduler.submit(request("b", [3, 4]), 0.0)
    plan = scheduler.plan(0.0)
    samples = run(plan)
    scheduler.abort("a")
    assert [output.request_id for output in scheduler.commit(plan, samples)] == ["b"]
    scheduler.check_integrity()


def test_the_latest_arrival_is_preempted_and_goes_on_with_the_same_tokens() -> None:
    scheduler = make(blocks=6, context=24)
    sampling = replace(GREEDY, max_tokens=12)
    for name, prompt in (("a", [1] * 8), ("b", [2] * 7)):
        scheduler.submit(request(name, prompt, sampling=sampling), 0.0)
    order: list[str] = []
    answers: dict[str, list[int]] = defaultdict(list)
    while scheduler.has_work:
        for output in step(scheduler):
            answers[output.request_id] += output.token_ids
            order += [output.request_id] * (output.finish_reason is not None)
    assert order == ["a", "b"]
    assert scheduler.load(0).preemptions == 1
    assert answers == {"a": unbroken((1,) * 8, sampling)[0], "b": unbroken((2,) * 7, sampling)[0]}


def test_a_preempted_sequence_is_not_overtaken() -> None:
    scheduler = make(blocks=6, context=24, running=2)
    for name, token_id in (("a", 1), ("b", 2)):
        scheduler.submit(request(name, [token_id] * 8, sampling=replace(GREEDY, max_tokens=12)), 0.0)
    step(scheduler)
    scheduler.submit(request("late", [3]), 0.0)
    while scheduler.load(0).preemptions == 0:
        step(scheduler)
    starts: list[str] = []
    while scheduler.has_work:
        plan = scheduler.plan(0.0)
        starts += [name for name, _, _ in work(plan) if name not in starts]
        scheduler.commit(plan, run(plan))
    assert starts == ["a", "b", "late"]


def test_a_sequence_starts_only_if_the_running_ones_can_grow_beside_it() -> None:
    scheduler = make(blocks=6, context=24, tokens=32)
    scheduler.submit(request("a", [1] * 15), 0.0)
    scheduler.submit(request("fits", [2]), 0.0)
    scheduler.submit(request("fits not", [3]), 0.0)
    assert work(scheduler.plan(0.0)) == [("a", 0, 15), ("fits", 0, 1)]


def test_the_lowest_free_slot_is_given() -> None:
    scheduler = make()
    for name in "abc":
        scheduler.submit(request(name, [1]), 0.0)
    step(scheduler)
    scheduler.abort("b")
    scheduler.submit(request("d", [1]), 0.0)
    plan = scheduler.plan(0.0)
    assert {chunk.sequence.request_id: chunk.sequence.slot for chunk in plan.chunks} == {"a": 0, "c": 2, "d": 1}


@pytest.mark.parametrize(
    ("stop_token_ids", "max_tokens", "reason"),
    [((), 4, FinishReason.LENGTH), ((7,), 4, FinishReason.STOP), ((7,), 2, FinishReason.STOP)],
)
def test_a_stop_token_ends_a_sequence_and_is_its_last_token(
    stop_token_ids: tuple[int, ...], max_tokens: int, reason: FinishReason
) -> None:
    scheduler = make()
    sampling = replace(GREEDY, stop_token_ids=stop_token_ids, max_tokens=max_tokens)
    scheduler.submit(request("a", [1, 2], sampling=sampling), 0.0)
    outputs: list[SequenceOutput] = []
    for token_id in (5, 7, 7, 7):
        if scheduler.has_work:
            outputs += scheduler.commit(scheduler.plan(0.0), StepResult([(Sample(token_id),)]))
    assert outputs[-1].finish_reason is reason
    assert [output.token_ids for output in outputs] == [(5,), (7,), (7,), (7,)][: 2 if stop_token_ids else 4]


@pytest.mark.parametrize(("ignore_eos", "reason"), [(False, FinishReason.STOP), (True, None)])
def test_an_end_of_text_token_stops_unless_it_is_ignored(ignore_eos: bool, reason: FinishReason | None) -> None:
    scheduler = make()
    scheduler.submit(request("a", [1], sampling=replace(GREEDY, ignore_eos=ignore_eos)), 0.0)
    (output,) = scheduler.commit(scheduler.plan(0.0), StepResult([(Sample(EOS),)]))
    assert (output.token_ids, output.finish_reason) == ((EOS,), reason)


def test_a_sequence_without_finite_logits_fails_alone_and_leaves_nothing_in_the_cache() -> None:
    scheduler = make()
    scheduler.submit(request("bad", [1] * 9), 0.0)
    scheduler.submit(request("good", [2] * 3), 0.0)
    bad, good = scheduler.commit(scheduler.plan(0.0), StepResult([(Sample(None),), (Sample(5),)]))
    assert (bad.finish_reason, bad.token_ids, good.finish_reason) == (FinishReason.FAULT, (), None)
    scheduler.check_integrity()
    scheduler.submit(request("again", [1] * 9), 0.0)
    assert ("again", 0, 9) in work(scheduler.plan(0.0))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (request("a", [1] * 61), "prompt of 61 tokens and `max_tokens` of 4 exceed the context length of 64"),
        (request("a", []), "must be at least 1; got 0, 4 and 1"),
        (request("a", [1, 256, 2]), "the prompt has token id 256, beyond a vocabulary of 256"),
        (request("live", [1]), "'live' is live already"),
    ],
)
def test_a_request_that_could_never_run_is_refused(bad: GenerationRequest, message: str) -> None:
    scheduler = make()
    scheduler.submit(request("live", [1]), 0.0)
    with pytest.raises(ValueError, match=message):
        scheduler.submit(bad, 0.0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"running": 0}, "`max_running` must be at least 1; got 0"),
        ({"running": 13}, r"`max_running` \+ `block_size` = 17, .* got 16"),
        ({"context": 257}, "holds 256 tokens, less than a context of 257"),
    ],
)
def test_sizes_that_would_starve_somebody_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**sizes)


def test_as_many_samples_as_the_plan_asks_for_must_come() -> None:
    scheduler = make()
    scheduler.submit(request("a", [1]), 0.0)
    with pytest.raises(ValueError, match="the plan samples from 1 chunks; got 0"):
        scheduler.commit(scheduler.plan(0.0), StepResult([]))
