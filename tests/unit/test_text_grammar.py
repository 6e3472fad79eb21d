"""A grammar that is asked about growing text gives the answers that it gives about whole texts."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from support.whole_text import accepts
from tokenwire.engine.grammar.text import TextGrammar

PAIRS = 'start: pair*\npair: "(" pair* ")" | "é"\n'
BITS = st.text("()é", max_size=4)


@given(st.lists(BITS, max_size=5), st.lists(BITS, max_size=3))
def test_questions_about_a_growing_text_are_questions_about_the_whole(
    pieces: Sequence[str], questions: Sequence[str]
) -> None:
    text, whole = TextGrammar(PAIRS).follow(), ""
    for piece in pieces:
        for question in questions:
            assert text.is_complete_with(question) == accepts(PAIRS, whole + question)
        text.push(piece)
        whole += piece


def test_texts_of_one_grammar_know_nothing_of_each_other() -> None:
    grammar = TextGrammar(PAIRS)
    first, second = grammar.follow(), grammar.follow()
    first.push("(")
    assert (first.is_complete_with(")"), second.is_complete_with(")")) == (True, False)
