"""JSON `response_format` becomes its contract message."""

from collections.abc import Mapping

import pytest

from support.json_request import parse, violations
from tokenwire.v1.chat_pb2 import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "text"}, ResponseFormat(text=TextFormat())),
        ({"type": "json_object"}, ResponseFormat(json_object=JsonObjectFormat())),
        ({"type": "json_object", "json_schema": None}, ResponseFormat(json_object=JsonObjectFormat())),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "required": []}}},
            ResponseFormat(json_schema=JsonSchemaFormat(name="n", schema='{"type":"object","required":[]}')),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": {}, "strict": True}},
            ResponseFormat(json_schema=JsonSchemaFormat(name="n", description="d", schema="{}", strict=True)),
        ),
        (
            {"type": "json_schema", "json_schema": {"description": None, "strict": None}},
            ResponseFormat(json_schema=JsonSchemaFormat()),
        ),
        ({"type": "regex", "regex": "a+"}, ResponseFormat(regex="a+")),
        ({"type": "lark", "lark": 'start: "a"'}, ResponseFormat(lark='start: "a"')),
        ({"type": "choice", "choice": ["a", "b"]}, ResponseFormat(choice=ChoiceFormat(options=["a", "b"]))),
        ({"type": "choice", "choice": []}, ResponseFormat(choice=ChoiceFormat())),
    ],
)
def test_the_type_names_the_form(form: Mapping[str, object], expected: ResponseFormat) -> None:
    assert parse(response_format=form).message.response_format == expected


def test_keys_of_a_schema_keep_their_order() -> None:
    schema: Mapping[str, object] = {"properties": {"b": {}, "a": {}, "c": {}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    text = parse(response_format=form).message.response_format.json_schema.schema
    assert text == '{"properties":{"b":{},"a":{},"c":{}}}'


@pytest.mark.parametrize(
    ("form", "path", "code"),
    [
        ("json_object", "", "invalid_type"),
        ({}, ".type", "missing_required_parameter"),
        ({"type": 1}, ".type", "invalid_type"),
        ({"type": "grammar"}, ".type", "invalid_value"),
        ({"type": "json_schema"}, ".json_schema", "missing_required_parameter"),
        ({"type": "json_schema", "json_schema": []}, ".json_schema", "invalid_type"),
        ({"type": "json_schema", "json_schema": {"schema": "{}"}}, ".json_schema.schema", "invalid_type"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "name": 1}}, ".json_schema.name", "invalid_type"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}}, ".json_schema.strict", "invalid_type"),
        ({"type": "regex"}, ".regex", "missing_required_parameter"),
        ({"type": "regex", "regex": 1}, ".regex", "invalid_type"),
        ({"type": "lark", "lark": ["a"]}, ".lark", "invalid_type"),
        ({"type": "choice"}, ".choice", "missing_required_parameter"),
        ({"type": "choice", "choice": "a"}, ".choice", "invalid_type"),
        ({"type": "choice", "choice": ["a", 1]}, ".choice[1]", "invalid_type"),
        ({"type": "json_object", "schema": {"type": "object"}}, ".schema", "unsupported_parameter"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_code(form: object, path: str, code: str) -> None:
    assert violations({"response_format": form}) == [(f"response_format{path}", code)]


def test_fields_that_nobody_knows_are_listed_by_path() -> None:
    form = {"type": "json_schema", "json_schema": {"schema": {}, "mood": 1}, "tone": 2}
    assert parse(response_format=form).ignored_fields == ("response_format.json_schema.mood", "response_format.tone")
