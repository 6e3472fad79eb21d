"""The index of n-grams against a search of the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from tokenwire.engine.speculation.ngram_index import LONGEST, SIGHT, Match, NgramIndex


def search(text: list[int]) -> Match | None:
    """The best of the newest places that end with the text's last pair of tokens."""

    def common(end: int) -> int:
        return max(n for n in range(min(LONGEST, end) + 1) if text[end - n : end] == text[len(text) - n :])

    ends = [end for end in range(len(text) - 1, 1, -1) if text[end - 2 : end] == text[-2:]]
    return max((Match(end, common(end)) for end in ends[:SIGHT]), key=lambda match: match.length, default=None)


@given(st.lists(st.integers(0, 2), max_size=60), st.data())
def test_it_finds_what_a_search_finds_however_the_text_has_grown(text: list[int], data: st.DataObject) -> None:
    index = NgramIndex()
    for size in sorted(data.draw(st.sets(st.integers(0, len(text))))):
        assert index.find(text[:size]) == search(text[:size])
