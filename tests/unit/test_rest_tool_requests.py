"""JSON tools, and the choice among them, become contract messages."""

import json
from collections.abc import Mapping

import pytest

from support.json_request import parse, violations
from tokenwire.v1.chat_pb2 import FunctionDefinition, Tool, ToolChoice, ToolChoiceMode


def tool(**function: object) -> Mapping[str, object]:
    return {"type": "function", "function": function}


def test_a_tool_is_a_function_with_its_schema_as_text() -> None:
    parameters = {"type": "object", "properties": {"z": {"const": 3}, "a": {"maximum": 2.5}}, "required": ["z", "ü"]}
    message = parse(tools=[tool(name="f", description="d", parameters=parameters, strict=True)]).message
    (read,) = message.tools
    assert list(json.loads(read.function.parameters)["properties"]) == ["z", "a"]
    assert json.loads(read.function.parameters) == parameters
    read.function.parameters = ""
    assert read == Tool(function=FunctionDefinition(name="f", description="d", strict=True))


def test_numbers_of_a_schema_stay_as_they_were_written() -> None:
    parameters = json.loads('{"enum": [3, 3.0, -0.5, 12345678901234567890123]}')
    (read,) = parse(tools=[tool(parameters=parameters)]).message.tools
    assert read.function.parameters == '{"enum":[3,3.0,-0.5,12345678901234567890123]}'


def test_null_is_absent_in_a_function_but_not_in_its_schema() -> None:
    (read,) = parse(tools=[tool(name="f", description=None, parameters={"const": None}, strict=None)]).message.tools
    assert read == Tool(function=FunctionDefinition(name="f", parameters='{"const":null}'))


def test_a_tool_without_a_type_is_a_function() -> None:
    assert parse(tools=[{"function": {"name": "f"}}]) == parse(tools=[tool(name="f")])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NONE)),
        ("auto", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_AUTO)),
        ("required", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED)),
        (tool(name="f"), ToolChoice(function_name="f")),
        (tool(name=""), ToolChoice(function_name="")),
    ],
)
def test_a_tool_choice_is_a_word_or_a_function(choice: object, expected: ToolChoice) -> None:
    assert parse(tool_choice=choice).message.tool_choice == expected


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": ["f"]}, "tools[0]", "invalid_type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": "f"}]}, "tools[0].function", "invalid_type"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type", "invalid_value"),
        ({"tools": [tool(name="f"), tool(name=1)]}, "tools[1].function.name", "invalid_type"),
        ({"tools": [tool(description=1)]}, "tools[0].function.description", "invalid_type"),
        ({"tools": [tool(parameters="{}")]}, "tools[0].function.parameters", "invalid_type"),
        ({"tools": [tool(parameters={"a": 1e999})]}, "tools[0].function.parameters", "invalid_value"),
        ({"tools": [tool(parameters={"\udfff": 1})]}, "tools[0].function.parameters", "invalid_value"),
        ({"tools": [tool(strict="yes")]}, "tools[0].function.strict", "invalid_type"),
        ({"tool_choice": 1}, "tool_choice", "invalid_type"),
        ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
        ({"tool_choice": tool()}, "tool_choice.function.name", "missing_required_parameter"),
        ({"tool_choice": tool(name=1)}, "tool_choice.function.name", "invalid_type"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_code(body: Mapping[str, object], path: str, code: str) -> None:
    assert violations(body) == [(path, code)]


def test_fields_that_nobody_knows_are_listed_by_path() -> None:
    parsed = parse(tools=[{**tool(name="f", mood=1), "cache_control": {}}], tool_choice=tool(name="f", mood=1))
    assert parsed.ignored_fields == ("tools[0].function.mood", "tools[0].cache_control", "tool_choice.function.mood")
