"""JSON bodies become contract messages: every field, every wrong type, null, older forms, fields not served."""

import json
from collections.abc import Mapping

import pytest

from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.rest.requests import ParsedRequest, parse_chat_request
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, ContentParts, Message, Role

HI = {"role": "user", "content": "hi"}


def parse(**fields: object) -> ParsedRequest:
    return parse_chat_request({"model": "m", "messages": [HI], **fields})


def parse_message(**fields: object) -> Message:
    return parse(messages=[fields]).message.messages[0]


def violations(body: Mapping[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**body)
    return [(violation.field, violation.code) for violation in caught.value.violations]


SCALARS: Mapping[str, tuple[object, ...]] = {
    "temperature": (0, 0.7, 2),
    "top_p": (0, 0.5),
    "max_completion_tokens": (1, 2**31 - 1),
    "seed": (-1, 0, 2**63 - 1, -(2**63)),
    "n": (2,),
    "frequency_penalty": (-2, 0.5),
    "presence_penalty": (-2.0, 1),
    "logprobs": (True, False),
    "top_logprobs": (0, 20),
    "top_k": (0, 50),
    "min_p": (0.1,),
    "repetition_penalty": (1.1,),
    "min_tokens": (0, 5),
    "ignore_eos": (True,),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SCALARS.items() for value in values])
def test_a_scalar_field_passes_through_under_its_own_name(name: str, value: object) -> None:
    assert getattr(parse(**{name: value}).message, name) == value


@pytest.mark.parametrize("name", [*SCALARS, "stop", "stop_token_ids", "logit_bias", "max_tokens", "stream", "tools"])
def test_null_is_absent(name: str) -> None:
    assert parse(**{name: None}) == parse()


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("value", ["1", [], {}])
def test_a_scalar_of_a_wrong_type_is_refused_by_name(name: str, value: object) -> None:
    assert violations({name: value}) == [(name, "invalid_type")]


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"n": 1.0}, "n", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"logprobs": 1}, "logprobs", "invalid_type"),
        ({"n": 2**31}, "n", "integer_above_max_value"),
        ({"seed": 2**63}, "seed", "integer_above_max_value"),
        ({"seed": -(2**63) - 1}, "seed", "integer_below_min_value"),
        ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
        ({"model": 5}, "model", "invalid_type"),
        ({"model": "\ud800"}, "model", "invalid_value"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [HI, {"role": "tool"}]}, "messages[1].role", "invalid_value"),
        ({"messages": [{"role": "USER"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": 1}]}, "messages[0].role", "invalid_type"),
        ({"messages": [{"content": 1}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"content": "\udfff"}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"name": 1}]}, "messages[0].name", "invalid_type"),
        ({"messages": [{"content": ["hi"]}]}, "messages[0].content[0]", "invalid_type"),
        ({"messages": [{"content": [{"text": "x"}]}]}, "messages[0].content[0].type", "missing_required_parameter"),
        ({"messages": [{"content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing_required_parameter"),
        ({"messages": [{"content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text", "invalid_type"),
        ({"messages": [{"content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", "invalid_value"),
        ({"messages": [{"content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type", "invalid_value"),
        ({"messages": [{"tool_calls": [{}]}]}, "messages[0].tool_calls", "unsupported_parameter"),
        ({"messages": [{"tool_call_id": "x"}]}, "messages[0].tool_call_id", "unsupported_parameter"),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stop": ["a", None]}, "stop[1]", "invalid_type"),
        ({"stop_token_ids": 5}, "stop_token_ids", "invalid_type"),
        ({"stop_token_ids": [1, "2"]}, "stop_token_ids[1]", "invalid_type"),
        ({"logit_bias": [1]}, "logit_bias", "invalid_type"),
        ({"logit_bias": {"one": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5": "1"}}, "logit_bias[5]", "invalid_type"),
        ({"logit_bias": {str(2**31): 1}}, f"logit_bias[{2**31}]", "integer_above_max_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": True, "stream_options": 1}, "stream_options", "invalid_type"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
        ({"stream_options": {}}, "stream_options", "invalid_parameter_combination"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_parameter_combination"),
        ({"user": 1}, "user", "invalid_type"),
        ({"metadata": "x"}, "metadata", "invalid_type"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_code(body: Mapping[str, object], path: str, code: str) -> None:
    assert violations(body) == [(path, code)]


@pytest.mark.parametrize("name", ["model", "messages"])
def test_what_is_required_is_missed(name: str) -> None:
    assert violations({name: None}) == [(name, "missing_required_parameter")]


def test_every_violation_is_reported_at_once() -> None:
    body = {"model": 1, "messages": [{"role": 2, "content": 3}], "n": "4", "tools": [5]}
    assert [path for path, _ in violations(body)] == ["model", "messages[0].role", "messages[0].content", "n", "tools"]


def test_a_message_says_what_was_wanted_and_what_came() -> None:
    with pytest.raises(InvalidRequestError, match=r"^`n` must be an integer; got a string$"):
        parse(n="1")


@pytest.mark.parametrize("role", ["developer", "system", "user", "assistant"])
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
    sent_back: dict[str, object] = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
    }
    assert parse_message(**sent_back, audio=None, name="bob") == Message(
        role=Role.ROLE_ASSISTANT, content="a", name="bob"
    )


def test_stop_is_a_string_or_a_list() -> None:
    assert list(parse(stop="a").message.stop) == ["a"]
    assert list(parse(stop=["a", "b"]).message.stop) == ["a", "b"]
    assert list(parse(stop=[]).message.stop) == []


def test_token_ids_and_biases_pass_through() -> None:
    message = parse(stop_token_ids=[1, 2], logit_bias={"5": -100, "7": 0.5}).message
    assert list(message.stop_token_ids) == [1, 2]
    assert dict(message.logit_bias) == {5: -100.0, 7: 0.5}


def test_max_tokens_is_the_older_name() -> None:
    assert parse(max_tokens=5).message.max_completion_tokens == 5


def test_stream_and_usage_are_the_transports() -> None:
    parsed = parse(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert (parsed.stream, parsed.include_usage) == (True, True)
    assert parsed.message == parse().message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "auto"),
        ("functions", [{}]),
        ("function_call", "auto"),
        ("response_format", {"type": "json_object"}),
        ("audio", {}),
        ("modalities", ["text", "audio"]),
        ("prediction", {}),
        ("web_search_options", {}),
        ("reasoning_effort", "low"),
        ("verbosity", "high"),
        ("store", True),
        ("store", 0),
        ("service_tier", "priority"),
        ("bad_words", ["x"]),
        ("prompt_logprobs", 1),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: object) -> None:
    assert violations({name: value}) == [(name, "unsupported_parameter")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []),
        ("tool_choice", "none"),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        ("store", False),
        ("service_tier", "auto"),
        ("service_tier", "default"),
        ("parallel_tool_calls", True),
        ("user", ""),
        ("metadata", {"a": "b"}),
        ("safety_identifier", "x"),
        ("prompt_cache_key", "x"),
    ],
)
def test_what_changes_nothing_is_accepted(name: str, value: object) -> None:
    assert parse(**{name: value}) == parse()


def test_fields_that_nobody_knows_are_listed_by_path() -> None:
    part = {"type": "text", "text": "x", "cache_control": {}}
    parsed = parse(messages=[{**HI, "mood": 1}, {"role": "user", "content": [part]}], frobnicate=1)
    assert parsed.ignored_fields == ("messages[0].mood", "messages[1].content[0].cache_control", "frobnicate")


@pytest.mark.parametrize(
    ("fields", "contract_path", "json_path"),
    [
        ({"max_tokens": 0}, "max_completion_tokens", "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens", "max_completion_tokens"),
        ({"stop": ""}, "stop[0]", "stop"),
        ({"stop": [""]}, "stop[0]", "stop[0]"),
        ({}, "messages[0].content_parts.parts[1].text", "messages[0].content[1].text"),
        ({}, "messages[0].content_parts", "messages[0].content"),
    ],
)
def test_errors_of_the_contract_name_the_fields_of_the_body(
    fields: Mapping[str, object], contract_path: str, json_path: str
) -> None:
    error = InvalidRequestError([Violation(contract_path, f"`{contract_path}` is bad", "x")])
    translated = parse(**fields).in_json_terms(error)
    assert translated.violations == (Violation(json_path, f"`{json_path}` is bad", "x"),)


def test_a_value_too_deep_to_show_is_refused_all_the_same() -> None:
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    assert violations({"tools": deep}) == [("tools", "unsupported_parameter")]


def test_every_field_of_the_contract_can_be_set_from_json() -> None:
    special = {"model": "m", "messages": [HI], "stop": "x", "stop_token_ids": [1], "logit_bias": {"1": 1}}
    body = {**{name: values[-1] for name, values in SCALARS.items()}, **special}
    unset = {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields} - set(body)
    assert not unset
    assert parse_chat_request(json.loads(json.dumps(body))).ignored_fields == ()
