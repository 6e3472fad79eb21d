"""JSON messages become contract messages: content and parts, calls and their results, reasoning, what is refused."""

from collections.abc import Mapping

import pytest

from support.json_request import HI, parse, parse_message, violations
from tokenwire.v1.chat_pb2 import ContentPart, ContentParts, FunctionCall, Message, Role, ToolCall

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "path", "code"),
    [
        ({"role": "USER"}, "role", "invalid_value"),
        ({"role": "function"}, "role", "invalid_value"),
        ({"role": 1}, "role", "invalid_type"),
        ({"content": 1}, "content", "invalid_type"),
        ({"content": "\udfff"}, "content", "invalid_value"),
        ({"name": 1}, "name", "invalid_type"),
        ({"content": ["hi"]}, "content[0]", "invalid_type"),
        ({"content": [{"text": "x"}]}, "content[0].type", "missing_required_parameter"),
        ({"content": [{"type": "text"}]}, "content[0].text", "missing_required_parameter"),
        ({"content": [{"type": "text", "text": 1}]}, "content[0].text", "invalid_type"),
        ({"content": [{"type": "image_url"}]}, "content[0].type", "invalid_value"),
        ({"content": [{"type": "input_audio"}]}, "content[0].type", "invalid_value"),
        ({"tool_call_id": 1}, "tool_call_id", "invalid_type"),
        ({"tool_calls": {}}, "tool_calls", "invalid_type"),
        ({"tool_calls": ["x"]}, "tool_calls[0]", "invalid_type"),
        ({"tool_calls": [{}]}, "tool_calls[0].function", "missing_required_parameter"),
        ({"tool_calls": [{**CALL, "type": "custom"}]}, "tool_calls[0].type", "invalid_value"),
        ({"tool_calls": [CALL, {**CALL, "id": 1}]}, "tool_calls[1].id", "invalid_type"),
        ({"tool_calls": [{"function": "f"}]}, "tool_calls[0].function", "invalid_type"),
        ({"tool_calls": [{"function": {"name": 1}}]}, "tool_calls[0].function.name", "invalid_type"),
        ({"tool_calls": [{"function": {"arguments": {}}}]}, "tool_calls[0].function.arguments", "invalid_type"),
        ({"reasoning": 1}, "reasoning", "invalid_type"),
        ({"reasoning_content": 1}, "reasoning_content", "invalid_type"),
        ({"reasoning": "a", "reasoning_content": "b"}, "reasoning_content", "invalid_parameter_combination"),
        ({"function_call": {"name": "f", "arguments": ""}}, "function_call", "unsupported_parameter"),
        ({"audio": {"id": "x"}}, "audio", "unsupported_parameter"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_code(message: Mapping[str, object], path: str, code: str) -> None:
    assert violations({"messages": [HI, message]}) == [(f"messages[1].{path}", code)]


@pytest.mark.parametrize("role", ["developer", "system", "user", "assistant", "tool"])
def test_roles_are_lower_case(role: str) -> None:
    assert parse_message(role=role, content="x").role == Role.Value(f"ROLE_{role.upper()}")


def test_content_is_a_string_or_parts() -> None:
    assert parse_message(role="user", content="a") == Message(role=Role.ROLE_USER, content="a")
    parts = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    expected = ContentParts(parts=[ContentPart(text="a"), ContentPart(refusal="b")])
    assert parse_message(role="assistant", content=parts) == Message(role=Role.ROLE_ASSISTANT, content_parts=expected)


def test_no_parts_are_not_the_same_as_no_content() -> None:
    assert parse_message(role="user", content=[]).WhichOneof("body") == "content_parts"
    assert parse_message(role="user", content=None).WhichOneof("body") is None


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    answer: Mapping[str, object] = {"role": "assistant", "content": "a", "refusal": None, "annotations": []}
    sent_back = parse_message(**answer, tool_calls=None, audio=None, name="bob")
    assert sent_back == Message(role=Role.ROLE_ASSISTANT, content="a", name="bob")
    assert parse_message(role="assistant", content="a", tool_calls=[]).tool_calls == []


def test_calls_and_their_results_are_history() -> None:
    call = ToolCall(id="call_1", function=FunctionCall(name="f", arguments="{}"))
    assert parse_message(role="assistant", content=None, tool_calls=[CALL]) == Message(
        role=Role.ROLE_ASSISTANT, tool_calls=[call]
    )
    assert parse_message(role="tool", tool_call_id="call_1", content="3") == Message(
        role=Role.ROLE_TOOL, tool_call_id="call_1", content="3"
    )


def test_a_call_without_a_type_is_a_call_of_a_function() -> None:
    untyped = {name: value for name, value in CALL.items() if name != "type"}
    assert parse_message(role="assistant", tool_calls=[untyped]) == parse_message(role="assistant", tool_calls=[CALL])


@pytest.mark.parametrize("fields", [{"reasoning": "a"}, {"reasoning_content": "a"}])
def test_reasoning_has_two_names(fields: Mapping[str, object]) -> None:
    assert parse_message(role="assistant", content="b", **fields).reasoning == "a"


def test_reasoning_may_come_under_both_names_at_once() -> None:
    assert parse_message(role="assistant", content="b", reasoning="a", reasoning_content="a").reasoning == "a"


def test_fields_that_nobody_knows_are_listed_by_path() -> None:
    call = {**CALL, "index": 0, "function": {"name": "f", "arguments": "", "mood": 1}}
    parsed = parse(messages=[{**HI, "mood": 1}, {"role": "assistant", "tool_calls": [call]}])
    assert parsed.ignored_fields == (
        "messages[0].mood",
        "messages[1].tool_calls[0].function.mood",
        "messages[1].tool_calls[0].index",
    )
