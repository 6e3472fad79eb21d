"""Tool calls in every syntax: what a model writes and what is read."""

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.answers import written_calls
from support.chat_templates import EXAMPLES
from tokenwire.chat.answer.tool_calls import ToolCallParser, merge
from tokenwire.chat.tool_syntax import SYNTAXES, ToolSyntax, syntax_of
from tokenwire.v1.chat_pb2 import ToolCallDelta

HERMES = SYNTAXES["hermes"]

# Answers as the models' makers document them.
DOCUMENTED = {
    "hermes": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>\n'
    '<tool_call>\n{"name": "mul", "arguments": {}}\n</tool_call>',
    "llama3": '{"name": "add", "parameters": {"a": 1}}; {"name": "mul", "parameters": {}}',
    "mistral": '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "mul", "arguments": {}}]',
    "mistral-spaced": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1}}, {"name": "mul", "arguments": {}}]',
    "mistral-args": '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]mul[ARGS]{}',
}

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["</tool_call>", '"}', "[ARGS]", "\\"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.tuples(NAMES, st.dictionaries(st.text(), VALUES, max_size=3).map(lambda v: json.dumps(v, ensure_ascii=False))),
    min_size=1,
    max_size=3,
)


def parts_of(pieces: Sequence[str], syntax: ToolSyntax) -> list[ToolCallDelta]:
    parser = ToolCallParser(syntax)
    parts: list[ToolCallDelta] = []
    for piece in pieces:
        merge(parts, parser.push(piece))
    return parts


def calls_of(pieces: Sequence[str], syntax: ToolSyntax) -> list[tuple[str, str]]:
    return [(part.name, part.arguments) for part in parts_of(pieces, syntax)]


@pytest.mark.parametrize("name", SYNTAXES)
def test_calls_are_read_in_the_form_that_the_models_are_trained_on(name: str) -> None:
    assert calls_of([DOCUMENTED[name]], SYNTAXES[name]) == [("add", '{"a": 1}'), ("mul", "{}")]


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_trigger_is_how_calls_begin(name: str) -> None:
    assert DOCUMENTED[name].startswith(SYNTAXES[name].trigger)


@pytest.mark.parametrize(
    ("template", "syntax"),
    [("qwen", "hermes"), ("llama3", "llama3"), ("mistral", "mistral"), ("smollm2", "hermes"), ("gemma", "hermes")],
)
def test_a_template_tells_the_syntax_and_one_without_calls_means_hermes(template: str, syntax: str) -> None:
    assert syntax_of(EXAMPLES[template].source).name == syntax


@pytest.mark.parametrize(
    ("source", "syntax"),
    [
        ("{{- '[TOOL_CALLS]' + call.name + '[ARGS]' + call.arguments }}", "mistral-args"),
        ("{{- '[TOOL_CALLS] [' }}", "mistral-spaced"),
        ("{{- '[TOOL_CALLS][' }}", "mistral"),
    ],
)
def test_templates_of_mistral_tell_which_of_its_syntaxes(source: str, syntax: str) -> None:
    assert syntax_of(source).name == syntax


@given(st.sampled_from(sorted(SYNTAXES)), CALLS, st.data())
def test_any_calls_are_read_back_however_the_text_is_cut(
    name: str, calls: list[tuple[str, str]], data: st.DataObject
) -> None:
    text = written_calls(SYNTAXES[name], calls)
    cut = data.draw(st.integers(0, len(text)))
    assert calls_of([text[:cut], text[cut:]], SYNTAXES[name]) == calls
    assert calls_of(list(text), SYNTAXES[name]) == calls


def test_a_call_begins_with_its_name_and_arguments_come_as_they_are_written() -> None:
    parser = ToolCallParser(HERMES)
    pieces = ['<tool_call>\n{"name": "ad', 'd", "argum', 'ents": {"a"', ": ", "1}}\n</tool_call>"]
    parts = [[(part.name, part.arguments) for part in parser.push(piece)] for piece in pieces]
    assert parts == [[], [], [("add", ""), ("", '{"a"')], [("", ": ")], [("", "1}")]]


def test_an_id_is_given_once_and_is_not_that_of_another_call() -> None:
    first, second = parts_of([DOCUMENTED["hermes"]], HERMES)
    assert re.fullmatch(r"call_[0-9a-f]{24}", first.id)
    assert first.id != second.id
    assert (first.index, second.index) == (0, 1)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<tool_ca", []),
        ('<tool_call>\n{"name": "ad', []),
        ('<tool_call>\n{"name": "add", "arguments": {"a": "}', [("add", '{"a": "}')]),
        ('<tool_call>\n{"name": "add", "arguments": {}}\n</tool_', [("add", "{}")]),
    ],
)
def test_calls_may_be_cut_anywhere(text: str, calls: list[tuple[str, str]]) -> None:
    assert calls_of([text], HERMES) == calls
