"""The rules of tools, of the choice among them, and of template variables."""

import inspect
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from tokenwire.chat.prompt.variables import RESERVED_VARIABLES, check_template_kwargs
from tokenwire.chat.validation.limits import MAX_SCHEMA_BYTES
from tokenwire.chat.validation.request import validate
from tokenwire.chat.validation.tools import check_tools
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

SCHEMA = '{"type": "object", "properties": {"city": {"type": "string"}}}'
FORM: dict[str, Any] = {"json_object": {}}
AUTO, NONE, REQUIRED = ({"mode": f"TOOL_CHOICE_MODE_{mode}"} for mode in ("AUTO", "NONE", "REQUIRED"))


def tool(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, **fields}}


def violations(**fields: Any) -> list[Violation]:
    return [*check_tools(ParseDict(fields, ChatCompletionRequest()))]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [tool(), tool("F-1_" + "x" * 60, description="d", parameters=SCHEMA, strict=True)]},
        {"tools": [tool(parameters="{}")], "tool_choice": AUTO, "parallel_tool_calls": False},
        {"tools": [tool(str(i)) for i in range(128)], "tool_choice": REQUIRED},
        {"tools": [tool("a"), tool("b")], "tool_choice": {"function_name": "b"}},
        {"tools": [tool()], "tool_choice": NONE, "response_format": FORM},
        {"tools": [tool()], "response_format": {"text": {}}},
        {"tool_choice": NONE, "response_format": FORM},
    ],
)
def test_legal_tools_pass(fields: dict[str, Any]) -> None:
    assert violations(**fields) == []


MISSING, COMBINATION = "missing_required_parameter", "invalid_parameter_combination"
BAD: list[tuple[dict[str, Any], str, str, str]] = [
    ({"tools": [tool(str(i)) for i in range(129)]}, "tools", "array_above_max_length", "at most 128 tools; got 129"),
    ({"tools": [{}]}, "tools[0].function", MISSING, "is required"),
    ({"tools": [tool("")]}, "tools[0].function.name", MISSING, "is required"),
    ({"tools": [tool("a.b")]}, "tools[0].function.name", "invalid_value", "got 'a.b'"),
    ({"tools": [tool("a" * 65)]}, "tools[0].function.name", "string_above_max_length", "at most 64 characters; got 65"),
    ({"tools": [tool(), tool()]}, "tools[1].function.name", "invalid_value", "those of the tools before; got 'f'"),
    ({"tools": [tool(parameters="{,}")]}, "tools[0].function.parameters", "invalid_value", "must be JSON text: "),
    ({"tools": [tool(parameters="true")]}, "tools[0].function.parameters", "invalid_value", "JSON object; got 'true'"),
    (
        {"tools": [tool(parameters='{"type": "array"}')]},
        "tools[0].function.parameters",
        "invalid_value",
        "got the type 'array'",
    ),
    (
        {"tools": [tool(parameters='{"const": 1e999}')]},
        "tools[0].function.parameters",
        "invalid_value",
        "finite; got 1e999",
    ),
    (
        {"tools": [tool(parameters='{"not":' * 65)]},
        "tools[0].function.parameters",
        "invalid_value",
        "at most 64 levels of arrays and objects; got 65",
    ),
    ({"tool_choice": {}}, "tool_choice.choice", MISSING, "is required"),
    ({"tools": [tool()], "tool_choice": {"mode": 0}}, "tool_choice.mode", MISSING, "is required"),
    ({"tools": [tool()], "tool_choice": {"mode": 9}}, "tool_choice.mode", "invalid_value", "known mode; got 9"),
    ({"tool_choice": AUTO}, "tool_choice.mode", COMBINATION, "TOOL_CHOICE_MODE_AUTO needs `tools`; got none"),
    ({"tool_choice": REQUIRED}, "tool_choice.mode", COMBINATION, "needs `tools`; got none"),
    ({"tool_choice": {"function_name": "f"}}, "tool_choice.function_name", "invalid_value", "in `tools`; got 'f'"),
    (
        {"tools": [tool()], "tool_choice": {"function_name": "g"}},
        "tool_choice.function_name",
        "invalid_value",
        "in `tools`; got 'g'",
    ),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", COMBINATION, "needs `tools`; got none"),
    (
        {"tools": [tool()], "response_format": FORM},
        "response_format",
        COMBINATION,
        "beside `tools`, unless `tool_choice` is none; got json_object",
    ),
]


@pytest.mark.parametrize(("fields", "path", "code", "part"), BAD)
def test_what_breaks_a_rule_is_named_by_its_path(fields: dict[str, Any], path: str, code: str, part: str) -> None:
    [violation] = violations(**fields)
    assert (violation.field, violation.code) == (path, code)
    assert violation.description.startswith(f"`{path}`")
    assert part in violation.description


def test_the_parameters_of_all_tools_are_bounded_together() -> None:
    half = json.dumps({"description": "x" * (MAX_SCHEMA_BYTES // 2)})
    [violation] = violations(tools=[tool("a", parameters=half), tool("b", parameters=half)])
    assert violation.field == "tools"
    assert f"at most {MAX_SCHEMA_BYTES} bytes of parameters together; got {2 * len(half)}" in violation.description


@pytest.mark.parametrize("text", ["", "{}", '{"enable_thinking": false, "a": {"b": [1]}}'])
def test_template_variables_are_an_object(text: str) -> None:
    assert [*check_template_kwargs(text)] == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "must be the text of a JSON object; got '[]'"),
        ("{", "must be JSON text: "),
        ('{"a": "' + "x" * 16384 + '"}', "at most 16384 bytes; got 16393"),
        ('{"a":' + "[" * 16 + "]" * 16 + "}", "at most 16 levels of arrays and objects; got 17"),
        ('{"messages": []}', "must not set `messages`"),
    ],
)
def test_bad_template_variables_are_told(text: str, part: str) -> None:
    [violation] = check_template_kwargs(text)
    assert violation.field == "chat_template_kwargs"
    assert part in violation.description


def test_what_the_renderer_takes_for_itself_is_reserved() -> None:
    from transformers import PreTrainedTokenizerFast
    from transformers.utils.chat_template_utils import render_jinja_template

    own = {*inspect.signature(PreTrainedTokenizerFast.apply_chat_template).parameters}
    own |= {*inspect.signature(render_jinja_template).parameters}
    assert own - {"self", "kwargs"} <= RESERVED_VARIABLES


def test_a_request_reports_tools_and_template_variables_with_all_else() -> None:
    bad = ChatCompletionRequest(
        model="m", parallel_tool_calls=True, chat_template_kwargs='{"tools": 1, "tokenize": 1}', temperature=3
    )
    with pytest.raises(InvalidRequestError) as caught:
        validate(bad, vocabulary_size=500, max_n=1, max_retain_s=3600)
    fields = [violation.field for violation in caught.value.violations]
    assert sorted(fields) == [
        "chat_template_kwargs",
        "chat_template_kwargs",
        "messages",
        "parallel_tool_calls",
        "temperature",
    ]
