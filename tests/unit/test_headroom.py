"""The headroom: a KV cache that is too small makes sequences wait, not start again and again."""

from dataclasses import replace
from random import Random

import pytest

from support.made_up_model import GREEDY, make, request
from support.made_up_time import MadeUpTime, cpu_time
from tokenwire.engine.scheduling.headroom import Headroom
from tokenwire.engine.scheduling.sequence import Sequence, open_group


def sequence(prompt_tokens: int, *, blocks: int, max_tokens: int) -> Sequence:
    sampling = replace(GREEDY, max_tokens=max_tokens)
    group = open_group(
        request("a", [1] * prompt_tokens, sampling=sampling), arrival_s=0, first_order=0, eos_token_ids=frozenset()
    )
    group.live[0].block_table = list(range(1, blocks + 1))
    return group.live[0]


@pytest.mark.parametrize(
    ("prompt_tokens", "max_tokens", "blocks"),
    [(16, 100, 1), (16, 1, 1), (15, 1, 0), (9, 7, 0), (9, 8, 1), (17, 100, 1)],
)
def test_at_first_a_block_is_kept_for_each_that_may_fill_it(prompt_tokens: int, max_tokens: int, blocks: int) -> None:
    held = -(-prompt_tokens // 16)
    assert Headroom(16).blocks([sequence(prompt_tokens, blocks=held, max_tokens=max_tokens)]) == blocks


def test_preemptions_make_it_wider_up_to_what_answers_may_take_and_ends_make_it_narrower() -> None:
    room, running = Headroom(16), [sequence(16, blocks=1, max_tokens=100)] * 2
    for _ in range(20):
        room.note_preemption()
    assert room.blocks(running) == 2 * 7
    for _ in range(300):
        room.note_end()
    assert room.blocks(running) == 2


def test_a_load_that_does_not_fit_causes_fewer_preemptions_than_there_are_requests() -> None:
    engine = MadeUpTime(make(blocks=150, block_size=16, running=16, tokens=512, context=1000), cpu_time)
    random, needed = Random(1), 0
    for number in range(48):
        prompt = [random.randrange(16) for _ in range(random.randint(20, 200))]
        answer = random.randint(50, 500)
        needed += len(prompt) + answer - 1
        engine.submit(request(str(number), prompt, sampling=replace(GREEDY, max_tokens=answer)))
    engine.finish()
    computed = sum(plan.num_tokens for plan in engine.plans)
    # With a block for each running sequence, and no more, it is 41 preemptions, and 27 % computed again.
    assert engine.scheduler.load(0).preemptions < 48 / 2
    assert computed < 1.2 * needed
