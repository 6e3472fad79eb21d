"""Grammars without an engine: what text is complete by them, and what is said of those that are wrong."""

import pytest

from support.whole_text import accepts
from tokenwire.chat.constraint.rule import Rule, json_rule
from tokenwire.engine.grammar.compiler import MAX_ERROR_LENGTH, error_text
from tokenwire.engine.protocol import GrammarError

SCHEMA = {"type": "object", "properties": {"é": {"type": "integer"}}, "required": ["é"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("text", "is_complete"),
    [('{"é":1}', True), ('{\n  "é": 12}', True), ('{"é":', False), ('{"é":1}}', False), ("", False)],
)
def test_text_is_complete_by_a_schema_or_not(text: str, is_complete: bool) -> None:
    assert accepts(Rule(f"answer: {json_rule(SCHEMA)}").grammar(), text) is is_complete


def test_text_is_complete_by_a_grammar_with_others_in_it() -> None:
    grammar = Rule("answer: @digits", {"digits": "start: /[0-9]+/ // some"}).grammar()
    assert accepts(grammar, "42")
    assert not accepts(grammar, "forty-two")


def test_an_error_tells_of_the_grammar_no_more_than_its_fault() -> None:
    message = (
        'at 1(8): failed: Unimplemented keys: ["not"]\n   1 | start: %json {"not":{}}\n              ^\n   2 | x\n'
    )
    assert error_text(message) == 'failed: Unimplemented keys: ["not"]'


def test_an_error_advises_no_option_that_callers_cannot_set() -> None:
    with pytest.raises(GrammarError) as caught:
        accepts('start: %json {"oneOf": [{"maxLength": 3}, {"minLength": 2}]}', "")
    assert str(caught.value).endswith("oneOf constraints are not supported.")


def test_a_long_error_keeps_its_end() -> None:
    text = error_text("invalid regex " + "(" * 1000 + ": too many parentheses")
    assert text.startswith("invalid regex ((")
    assert text.endswith("((: too many parentheses")
    assert len(text) <= MAX_ERROR_LENGTH
