"""Stop strings against a naive search in the whole text."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.chat.answer.stop import StopMatcher

LETTERS = st.text("abc", max_size=30)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4)


class Followed:
    """A text that may end where a rule says."""

    def __init__(self, may_end: Callable[[str], bool]) -> None:
        self._may_end = may_end
        self._text = ""

    def push(self, text: str) -> None:
        self._text += text

    def is_complete_with(self, text: str) -> bool:
        return self._may_end(self._text + text)


def always(text: str) -> bool:
    return True


def is_even(text: str) -> bool:
    return len(text) % 2 == 0


def naive(text: str, stops: Sequence[str], may_end: Callable[[str], bool] = always) -> tuple[str, str | None]:
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop) and may_end(text[: end - len(stop)]):
                return text[: end - len(stop)], stop
    return text, None


def run(
    pieces: Sequence[str], stops: Sequence[str], may_end: Callable[[str], bool] | None = None
) -> tuple[str, str | None]:
    matcher, text = StopMatcher(stops, followed=Followed(may_end) if may_end else None), ""
    for piece in pieces:
        result = matcher.push(piece)
        text += result.text
        if result.match is not None:
            return text, result.match
    return text + matcher.flush(), None


@given(st.lists(LETTERS), STOPS)
def test_any_split_gives_what_a_search_in_the_whole_text_gives(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops) == naive("".join(pieces), stops)


@given(st.lists(LETTERS), STOPS)
def test_a_match_where_the_text_may_not_end_is_text_like_any_other(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops, is_even) == naive("".join(pieces), stops, is_even)


def test_matches_may_overlap_where_the_first_does_not_end_the_text() -> None:
    assert run([*"{a{b}}}"], ["}}"], lambda text: text.count("{") == text.count("}") + 1) == ("{a{b}", "}}")


def test_text_that_is_skipped_is_not_searched_but_counts_for_the_question_whether_the_text_may_end() -> None:
    matcher = StopMatcher(["b"], followed=Followed(is_even))
    matcher.skip("ab")
    assert [matcher.push(piece).match for piece in ("a", "b", "a", "ab")] == [None, None, None, "b"]


@given(LETTERS, STOPS)
def test_what_is_held_back_is_the_longest_beginning_of_a_stop_string_and_no_more(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    result = matcher.push(text)
    if result.match is None:
        suffixes = (text[start:] for start in range(len(text) + 1))
        assert matcher.flush() == next(s for s in suffixes if any(stop.startswith(s) for stop in stops) or not s)


@pytest.mark.parametrize("pieces", [["one END two"], ["one E", "N", "D two"], [*"one END two"]])
def test_a_match_across_tokens_is_cut_exactly(pieces: list[str]) -> None:
    assert run(pieces, ["END"]) == ("one ", "END")


def test_a_beginning_that_does_not_become_a_match_is_released() -> None:
    matcher = StopMatcher(["END"])
    assert [matcher.push(piece).text for piece in ("x", "EN", "T")] == ["x", "", "ENT"]


def test_the_match_that_is_complete_first_wins() -> None:
    assert run(["abcd"], ["abcd", "bc"]) == ("a", "bc")


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert StopMatcher([]).push("text").text == "text"
