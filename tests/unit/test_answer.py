"""What an answer consists of, however its text is cut."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.answers import Answer, read
from tokenwire.chat.answer.reader import AnswerForm, AnswerParser
from tokenwire.chat.answer.reasoning import Reasoning
from tokenwire.chat.tool_syntax import SYNTAXES

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
CALLED = (("f", '{"x": 1}'),)

PLAIN = AnswerForm()
OPEN, POSSIBLE = AnswerForm(Reasoning.OPEN), AnswerForm(Reasoning.POSSIBLE)
HERMES = AnswerForm(tools=SYNTAXES["hermes"])
LLAMA = AnswerForm(tools=SYNTAXES["llama3"])
THINKING_HERMES = AnswerForm(Reasoning.POSSIBLE, SYNTAXES["hermes"])
CONSTRAINED = AnswerForm(Reasoning.POSSIBLE, is_constrained=True)
FORMS = {
    "plain": PLAIN,
    "open": OPEN,
    "possible": POSSIBLE,
    "hermes": HERMES,
    "llama": LLAMA,
    "thinking hermes": THINKING_HERMES,
    "thinking llama": AnswerForm(Reasoning.OPEN, SYNTAXES["llama3"]),
    "mistral": AnswerForm(tools=SYNTAXES["mistral-args"]),
    "constrained": CONSTRAINED,
}


@pytest.mark.parametrize(
    ("form", "text", "answer"),
    [
        (PLAIN, f"<think>a</think> {CALL}", Answer(content=f"<think>a</think> {CALL}")),
        (OPEN, "\na\n</think>\n\n b \n", Answer("a", "b \n")),
        (OPEN, "a", Answer("a")),
        (OPEN, "a\n", Answer("a\n")),
        (POSSIBLE, "<think>\n\n</think>\n\nb", Answer(content="b")),
        (OPEN, "a</th", Answer("a</th")),
        (OPEN, "<think>a</think></think>", Answer("<think>a", "</think>")),
        (POSSIBLE, "<think>a</think>b", Answer("a", "b")),
        (POSSIBLE, "<think></think>", Answer()),
        (POSSIBLE, " a <think>", Answer(content=" a <think>")),
        (POSSIBLE, "<thi", Answer(content="<thi")),
        (POSSIBLE, "", Answer()),
        (HERMES, "a \n", Answer(content="a \n")),
        (HERMES, f"a \n{CALL}", Answer(content="a", calls=CALLED)),
        (HERMES, f"{CALL}\n{CALL}", Answer(calls=CALLED * 2)),
        (HERMES, "a <tool_", Answer(content="a <tool_")),
        (HERMES, "<<tool_call>", Answer(content="<")),
        (THINKING_HERMES, f"<think>{CALL}</think>\n\n{CALL}", Answer(CALL, calls=CALLED)),
        (LLAMA, '{"name": "f", "parameters": {}}', Answer(calls=(("f", "{}"),))),
        (LLAMA, 'a {"name": "f", "parameters": {}}', Answer(content='a {"name": "f", "parameters": {}}')),
        (LLAMA, '{"name": ', Answer(content='{"name": ')),
        (CONSTRAINED, "<think>a</think>\n\n\n b", Answer("a", "\n b")),
        (CONSTRAINED, " \nb", Answer(content=" \nb")),
    ],
)
def test_an_answer_is_read(form: AnswerForm, text: str, answer: Answer) -> None:
    assert read([text], form) == answer
    assert read(list(text), form) == answer


BITS = st.sampled_from(
    [
        *("<think>", "</think>", "<tool_call>", "[TOOL_CALLS]", "[ARGS]", '{"name": "', '", "arguments": ', "</tool"),
        *('", "parameters": ', "<", " ", "\n\n", "\n", "{", "}", '"', "\\", "a", "f", "; ", CALL),
    ]
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(FORMS)), st.lists(BITS, max_size=12), st.data())
def test_any_split_gives_the_same_answer(name: str, bits: Sequence[str], data: st.DataObject) -> None:
    text = "".join(bits)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = read([text], FORMS[name])
    assert read(pieces, FORMS[name]) == whole
    assert read(list(text), FORMS[name]) == whole


@given(st.sampled_from(sorted(FORMS)), st.lists(BITS, max_size=12))
def test_every_character_is_settled_in_the_end(name: str, bits: Sequence[str]) -> None:
    parser = AnswerParser(FORMS[name])
    settled = [0]
    for piece in (*bits, ""):
        parser.push(piece)
        settled.append(parser.num_settled)
    parser.push("", is_last=True)
    assert settled == sorted(settled)
    if not parser.has_calls:
        assert parser.num_settled == len("".join(bits))


def test_only_what_may_become_a_mark_is_held_back() -> None:
    parser = AnswerParser(THINKING_HERMES)
    pieces = ["<thi", "nk>", "a<", "b", "</think>", "\n", "\n", "c ", "d <tool", "ish "]
    parts = [parser.push(piece) for piece in pieces]
    assert [part.reasoning for part in parts[:5]] == ["", "", "a", "<b", ""]
    assert [part.content for part in parts[5:]] == ["", "", "c", " d", " <toolish"]


def test_the_reasoning_ends_behind_its_closing_tag() -> None:
    parser = AnswerParser(POSSIBLE)
    parser.push("<think>a")
    assert parser.reasoning_end == float("inf")
    parser.push("</think>\n\nb")
    assert (parser.reasoning_end, parser.content_start) == (len("<think>a</think>"), len("<think>a</think>\n\n"))


def test_an_answer_without_reasoning_has_none() -> None:
    parser = AnswerParser(POSSIBLE)
    parser.push("a")
    assert parser.reasoning_end == 0
