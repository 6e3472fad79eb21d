"""The form of an answer: its rules, and what its grammar accepts."""

import json

import pytest

from support.whole_text import accepts
from tokenwire.chat.constraint.response_format import check_response_format, format_rule
from tokenwire.v1.chat_pb2 import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat

SCHEMA = {
    "type": "object",
    "properties": {"b": {"type": "integer"}, "a": {"type": "string"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def json_schema(schema: object, *, name: str = "") -> ResponseFormat:
    return ResponseFormat(json_schema=JsonSchemaFormat(schema=json.dumps(schema), name=name))


def accepted(response_format: ResponseFormat, text: str) -> bool:
    rule = format_rule(response_format)
    assert rule is not None
    return accepts(rule.grammar(), text)


@pytest.mark.parametrize(
    ("response_format", "good", "bad"),
    [
        (ResponseFormat(json_object=JsonObjectFormat()), ['{"a": [1, {}]}', "{}", '{"a":1}'], ["[]", "1", "", '{"a"}']),
        (json_schema(SCHEMA), ['{"b": 1, "a": "x"}', '{"b":1,"a":"x"}'], ['{"a": "x", "b": 1}', '{"b": 1}', "{}"]),
        (ResponseFormat(regex=r"\d{2}/[ab]+"), ["12/a", "12/abba"], ["12/", "1/a", "12/a "]),
        (ResponseFormat(regex="a\nb"), ["a\nb"], ["a b"]),
        (ResponseFormat(lark='start: "(" start ")" | "x"'), ["x", "((x))"], ["(x", ""]),
        (ResponseFormat(choice=ChoiceFormat(options=["yes", 'no"\n', "yé"])), ["yes", 'no"\n', "yé"], ["y", "no"]),
    ],
)
def test_a_format_is_what_its_grammar_accepts(response_format: ResponseFormat, good: list[str], bad: list[str]) -> None:
    assert not list(check_response_format(response_format))
    assert [accepted(response_format, text) for text in good] == [True] * len(good)
    assert [accepted(response_format, text) for text in bad] == [False] * len(bad)


def test_any_text_is_no_constraint() -> None:
    assert format_rule(ResponseFormat(text=TextFormat())) is None
    assert format_rule(ResponseFormat()) is None


def test_json_never_has_endless_whitespace() -> None:
    response_format = json_schema(SCHEMA)
    assert accepted(response_format, '{\n    "b": 1,\n    "a": "x"\n}')
    assert not accepted(response_format, '{"b":  1, "a": "x"}')
    assert not accepted(response_format, '{\n\n"b": 1, "a": "x"}')


def test_a_schema_cannot_choose_options_of_the_grammar_engine() -> None:
    loose = {**SCHEMA, "x-guidance": {"whitespace_pattern": r"\s*", "lenient": True}}
    assert not accepted(json_schema(loose), '{"b":  1, "a": "x"}')


@pytest.mark.parametrize(
    ("response_format", "field", "words"),
    [
        (ResponseFormat(), "response_format.format", "is required"),
        (ResponseFormat(json_schema=JsonSchemaFormat()), "response_format.json_schema.schema", "is required"),
        (ResponseFormat(json_schema=JsonSchemaFormat(schema="{")), "response_format.json_schema.schema", "JSON text"),
        (ResponseFormat(json_schema=JsonSchemaFormat(schema="[]")), "response_format.json_schema.schema", "object"),
        (json_schema(SCHEMA, name="no spaces"), "response_format.json_schema.name", "got 'no spaces'"),
        (
            json_schema({"const": "x" * 262144}),
            "response_format.json_schema.schema",
            "at most 262144 bytes; got 262157",
        ),
        (
            ResponseFormat(json_schema=JsonSchemaFormat(schema='{"a":' * 65 + "1" + "}" * 65)),
            "response_format.json_schema.schema",
            "at most 64 levels of arrays and objects; got 65",
        ),
        (ResponseFormat(regex=""), "response_format.regex", "must not be empty"),
        (ResponseFormat(regex="a" * 16385), "response_format.regex", "at most 16384 bytes; got 16385"),
        (ResponseFormat(lark=""), "response_format.lark", "must not be empty"),
        (ResponseFormat(choice=ChoiceFormat()), "response_format.choice.options", "at least 1 text; got 0"),
        (ResponseFormat(choice=ChoiceFormat(options=["a", "a"])), "response_format.choice.options", "different"),
        (ResponseFormat(choice=ChoiceFormat(options=["a", ""])), "response_format.choice.options[1]", "not be empty"),
        (
            ResponseFormat(choice=ChoiceFormat(options=map(str, range(1025)))),
            "response_format.choice.options",
            "at most 1024 texts; got 1025",
        ),
    ],
)
def test_a_format_that_breaks_its_rules_is_told(response_format: ResponseFormat, field: str, words: str) -> None:
    (violation,) = check_response_format(response_format)
    assert violation.field == field
    assert words in violation.description
