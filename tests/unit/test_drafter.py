"""Drafts: what is guessed, how much of it, and when no longer."""

import pytest

from tokenwire.engine.speculation.drafter import Drafter, draft_length

CHEAP = 1 / 33


@pytest.mark.parametrize(
    ("acceptance", "cost", "length"),
    # 0.5² pays for 0.2 and 0.5³ does not; 0.9^8 = 0.43, and no draft is longer than 8.
    [(0.5, 0.2, 2), (0.5, 0.5, 1), (0.5, 0.51, 0), (0.9, 0.1, 8), (0.9, 0.8, 2), (0.05, 0.06, 0)],
)
def test_a_draft_ends_where_its_next_token_would_cost_more_than_it_gains(
    acceptance: float, cost: float, length: int
) -> None:
    assert draft_length(acceptance, cost) == length


def test_what_stood_behind_the_longest_match_is_guessed() -> None:
    text = [1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 1, 2, 3]
    assert Drafter().draft(text, (), cost=CHEAP, most=3) == [4, 5, 9]


def test_a_loop_goes_on_beyond_the_end_of_the_text() -> None:
    assert Drafter().draft([7, 1, 2, 1, 2, 1, 2], (), cost=CHEAP, most=5) == [1, 2, 1, 2, 1]


def test_nothing_is_guessed_where_the_last_pair_is_new() -> None:
    assert Drafter().draft([1, 2, 3], (), cost=CHEAP, most=8) == []


def test_of_what_follows_a_mere_pair_less_is_guessed() -> None:
    assert Drafter().draft([1, 2, 3, 4, 5, 1, 2], (), cost=0.2, most=8) == [3]
    assert Drafter().draft([1, 2, 3, 4, 5, 6, 7, 1, 2, 3], (), cost=0.2, most=8) == [4, 5, 6]


def test_what_a_grammar_expects_goes_before_what_the_text_has() -> None:
    assert Drafter().draft([1, 2, 3, 1, 2], (5, 6, 7), cost=CHEAP, most=2) == [5, 6]


def test_drafts_grow_with_luck_stop_without_it_and_are_tried_again() -> None:
    drafter, text = Drafter(), [1, 2, 3] * 5
    lengths = []
    for luck in (True,) * 20 + (False,) * 180:
        draft = drafter.draft(text, (), cost=0.2, most=8)
        if draft:
            drafter.note(drafted=len(draft), accepted=len(draft) if luck else 0)
        lengths.append(len(draft))
    assert lengths[0] == 3  # 0.75^3 = 0.42, and 0.2 + 0.15 is to be paid
    assert lengths[19] == 8
    unlucky = lengths[100:]
    assert 0 < sum(unlucky) < len(unlucky) / 5
