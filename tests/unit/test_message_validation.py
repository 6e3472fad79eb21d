"""The rules of messages with tool calls, their results and reasoning."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from tokenwire.chat.validation.messages import check_messages
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

USER = {"role": "ROLE_USER", "content": "Weather?"}


def violations(*messages: dict[str, Any]) -> list[Violation]:
    return [*check_messages(ParseDict({"messages": list(messages)}, ChatCompletionRequest()).messages)]


def call(id: str = "call_1", name: str = "get_weather", arguments: str = '{"city": "Paris"}') -> dict[str, Any]:
    return {"id": id, "function": {"name": name, "arguments": arguments}}


def assistant(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "ROLE_ASSISTANT", "tool_calls": list(calls), **fields}


def result(id: str = "call_1", content: str = "sunny") -> dict[str, Any]:
    return {"role": "ROLE_TOOL", "tool_call_id": id, "content": content}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, assistant(call()), result()],
        [USER, assistant(call("a"), call("b"), content="Let me see."), result("b"), result("a"), USER],
        [assistant(call("a", arguments="{}")), result("a"), assistant(call("a")), result("a")],
        [
            USER,
            assistant(call()),
            {"role": "ROLE_TOOL", "tool_call_id": "call_1", "content_parts": {"parts": [{"text": "s"}]}},
        ],
        [USER, {"role": "ROLE_ASSISTANT", "content": "It is.", "reasoning": "Hm."}],
        [USER, assistant(call(arguments=' {"a": [{"b": null}]} '))],
    ],
)
def test_histories_with_calls_are_legal(messages: list[dict[str, Any]]) -> None:
    assert violations(*messages) == []


BAD: list[tuple[list[dict[str, Any]], str, str, str]] = [
    (
        [{**USER, "tool_calls": [call()]}],
        "[0].tool_calls",
        "invalid_value",
        "only allowed in messages of ROLE_ASSISTANT; got ROLE_USER",
    ),
    ([{**USER, "reasoning": "hm"}], "[0].reasoning", "invalid_value", "ROLE_ASSISTANT; got ROLE_USER"),
    (
        [{**USER, "tool_call_id": "a"}],
        "[0].tool_call_id",
        "invalid_value",
        "only allowed in messages of ROLE_TOOL; got ROLE_USER",
    ),
    ([{"role": "ROLE_TOOL", "content": "x"}], "[0].tool_call_id", "missing_required_parameter", "is required"),
    (
        [{"role": "ROLE_TOOL", "content": "x", "tool_call_id": ""}],
        "[0].tool_call_id",
        "missing_required_parameter",
        "is required",
    ),
    (
        [assistant(call()), {"role": "ROLE_TOOL", "tool_call_id": "call_1"}],
        "[1].content",
        "missing_required_parameter",
        "is required",
    ),
    ([assistant(call()), result("call_2")], "[1].tool_call_id", "invalid_value", "of an earlier message; got 'call_2'"),
    ([result(), assistant(call())], "[0].tool_call_id", "invalid_value", "of an earlier message; got 'call_1'"),
    ([assistant(call(id=""))], "[0].tool_calls[0].id", "missing_required_parameter", "is required"),
    (
        [assistant(call(), call())],
        "[0].tool_calls[1].id",
        "invalid_value",
        "differ from those of the calls before; got 'call_1'",
    ),
    ([assistant({"id": "a"})], "[0].tool_calls[0].function", "missing_required_parameter", "is required"),
    ([assistant(call(name="a b"))], "[0].tool_calls[0].function.name", "invalid_value", "'a b'"),
    (
        [assistant(call(name="a" * 65))],
        "[0].tool_calls[0].function.name",
        "string_above_max_length",
        "at most 64 characters; got 65",
    ),
    (
        [assistant(call(arguments=""))],
        "[0].tool_calls[0].function.arguments",
        "missing_required_parameter",
        "is required",
    ),
    ([assistant(call(arguments="{"))], "[0].tool_calls[0].function.arguments", "invalid_value", "must be JSON text: "),
    (
        [assistant(call(arguments="[1]"))],
        "[0].tool_calls[0].function.arguments",
        "invalid_value",
        "of a JSON object; got '[1]'",
    ),
    (
        [assistant(call(arguments='{"a":' * 65))],
        "[0].tool_calls[0].function.arguments",
        "invalid_value",
        "at most 64 levels of arrays and objects; got 65",
    ),
]


@pytest.mark.parametrize(("messages", "path", "code", "part"), BAD)
def test_what_breaks_a_rule_is_named_by_its_path(
    messages: list[dict[str, Any]], path: str, code: str, part: str
) -> None:
    [violation] = violations(*messages)
    assert (violation.field, violation.code) == (f"messages{path}", code)
    assert violation.description.startswith(f"`messages{path}`")
    assert part in violation.description


def test_every_violation_is_found() -> None:
    bad = [{**USER, "reasoning": "r", "tool_calls": [call(id="", arguments="x")], "tool_call_id": "z"}, result("no")]
    assert len(violations(*bad)) == 6
