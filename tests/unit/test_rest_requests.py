"""JSON bodies become contract messages: every field, every wrong type, null, older forms, fields not served."""

import json
from collections.abc import Mapping

import pytest
from google.protobuf.duration_pb2 import Duration

from support.json_request import HI, parse, violations
from tokenwire.errors import ConstraintInvalidError, InvalidRequestError, Violation
from tokenwire.rest.chat.requests import parse_chat_request
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, OnDisconnect, ServiceTier

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
    "parallel_tool_calls": (True, False),
    "prompt_logprobs": (0, 20),
    "user": ("", "somebody"),
    "request_id": ("", "r-1"),
    "store": (True, False),
}


COMPOUNDS: Mapping[str, object] = {
    "bad_words": ["x", "y"],
    "chat_template_kwargs": {"enable_thinking": False},
    "execution_policy": {"time_budget_s": 20, "on_disconnect": "detach"},
    "metadata": {"run": "7"},
    "priority": -5,
    "response_format": {"type": "json_object"},
    "service_tier": "flex",
    "tool_choice": "auto",
    "tools": [{"type": "function", "function": {"name": "f"}}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SCALARS.items() for value in values])
def test_a_scalar_field_passes_through_under_its_own_name(name: str, value: object) -> None:
    assert getattr(parse(**{name: value}).message, name) == value


@pytest.mark.parametrize("name", [*SCALARS, "stop", "stop_token_ids", "logit_bias", "max_tokens", "stream", *COMPOUNDS])
def test_null_is_absent(name: str) -> None:
    assert parse(**{name: None}) == parse()


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("value", [[], {}])
def test_a_scalar_of_a_wrong_type_is_refused_by_name(name: str, value: object) -> None:
    assert violations({name: value}) == [(name, "invalid_type")]


@pytest.mark.parametrize("name", [name for name in SCALARS if name not in ("user", "request_id")])
def test_a_number_or_a_truth_value_is_not_written_as_a_string(name: str) -> None:
    assert violations({name: "1"}) == [(name, "invalid_type")]


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
        ({"metadata": {"a": 1}}, "metadata[a]", "invalid_type"),
        ({"metadata": {"a": None}}, "metadata[a]", "invalid_type"),
        ({"metadata": {"\ud800": "a"}}, "metadata", "invalid_value"),
        ({"service_tier": "scale"}, "service_tier", "invalid_value"),
        ({"service_tier": 1}, "service_tier", "invalid_type"),
        ({"priority": "high"}, "priority", "invalid_type"),
        ({"execution_policy": 1}, "execution_policy", "invalid_type"),
        ({"execution_policy": {"time_budget_s": "1s"}}, "execution_policy.time_budget_s", "invalid_type"),
        ({"execution_policy": {"time_budget_s": 1e300}}, "execution_policy.time_budget_s", "invalid_value"),
        ({"execution_policy": {"time_budget_s": float("nan")}}, "execution_policy.time_budget_s", "invalid_value"),
        ({"execution_policy": {"on_disconnect": "x"}}, "execution_policy.on_disconnect", "invalid_value"),
        (
            {"execution_policy": {"on_deadline": "return_partial"}},
            "execution_policy.on_deadline",
            "unsupported_parameter",
        ),
        ({"bad_words": "x"}, "bad_words", "invalid_type"),
        ({"bad_words": ["x", 1]}, "bad_words[1]", "invalid_type"),
        ({"chat_template_kwargs": "{}"}, "chat_template_kwargs", "invalid_type"),
        ({"chat_template_kwargs": {"a": "\ud800"}}, "chat_template_kwargs", "invalid_value"),
    ],
)
def test_a_bad_value_is_refused_with_its_path_and_code(body: Mapping[str, object], path: str, code: str) -> None:
    assert violations(body) == [(path, code)]


@pytest.mark.parametrize("name", ["model", "messages"])
def test_what_is_required_is_missed(name: str) -> None:
    assert violations({name: None}) == [(name, "missing_required_parameter")]


def test_every_violation_is_reported_at_once() -> None:
    body = {"model": 1, "messages": [{"role": 2, "content": 3}], "n": "4", "audio": {}}
    assert [path for path, _ in violations(body)] == ["model", "messages[0].role", "messages[0].content", "n", "audio"]


def test_a_message_says_what_was_wanted_and_what_came() -> None:
    with pytest.raises(InvalidRequestError, match=r"^`n` must be an integer; got a string$"):
        parse(n="1")


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


def test_what_the_api_has_no_place_for_passes_through() -> None:
    message = parse(bad_words=["x", "y"], priority=-5, chat_template_kwargs={"b": [1, 2.5, None], "a": "ü"}).message
    assert list(message.bad_words) == ["x", "y"]
    assert message.execution_policy == ExecutionPolicy(priority=-5)
    assert message.chat_template_kwargs == '{"b":[1,2.5,null],"a":"ü"}'


def test_times_of_the_execution_policy_are_seconds() -> None:
    body = {"max_queue_time_s": 1.5, "time_budget_s": 20, "retain_for_s": 0.25, "on_disconnect": "detach", "x": 1}
    parsed = parse(execution_policy=body)
    assert parsed.message.execution_policy == ExecutionPolicy(
        max_queue_time=Duration(seconds=1, nanos=500_000_000),
        time_budget=Duration(seconds=20),
        retain_for=Duration(nanos=250_000_000),
        on_disconnect=OnDisconnect.ON_DISCONNECT_DETACH,
    )
    assert parsed.ignored_fields == ("execution_policy.x",)


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "priority"])
def test_service_tiers_are_lower_case(tier: str) -> None:
    assert parse(service_tier=tier).message.service_tier == ServiceTier.Value(f"SERVICE_TIER_{tier.upper()}")


def test_tags_are_strings() -> None:
    assert dict(parse(metadata={"run": "7", "": ""}).message.metadata) == {"run": "7", "": ""}


def test_stream_and_usage_are_the_transports() -> None:
    parsed = parse(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert (parsed.stream, parsed.include_usage) == (True, True)
    assert parsed.message == parse().message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("functions", [{}]),
        ("function_call", "auto"),
        ("audio", {}),
        ("modalities", ["text", "audio"]),
        ("prediction", {}),
        ("web_search_options", {}),
        ("reasoning_effort", "low"),
        ("verbosity", "high"),
        ("guided_json", {"type": "object"}),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: object) -> None:
    assert violations({name: value}) == [(name, "unsupported_parameter")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []),
        ("modalities", ["text"]),
        ("safety_identifier", "x"),
        ("prompt_cache_key", "x"),
        ("metadata", {}),
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
        ({}, "messages[3].reasoning", "messages[3].reasoning"),
        ({"messages": [HI, {"reasoning_content": ""}]}, "messages[1].reasoning", "messages[1].reasoning_content"),
        ({}, "messages[1].tool_calls[0].function.arguments", "messages[1].tool_calls[0].function.arguments"),
        ({}, "tools[0].function.parameters", "tools[0].function.parameters"),
        ({}, "tool_choice.function_name", "tool_choice.function.name"),
        ({}, "tool_choice.mode", "tool_choice"),
        ({}, "tool_choice.choice", "tool_choice"),
        ({}, "response_format.json_schema.schema", "response_format.json_schema.schema"),
        ({}, "response_format.choice.options[2]", "response_format.choice[2]"),
        ({}, "execution_policy.priority", "priority"),
        ({}, "execution_policy.time_budget", "execution_policy.time_budget_s"),
        ({}, "metadata[execution_policy.priority]", "metadata[execution_policy.priority]"),
    ],
)
def test_errors_of_the_contract_name_the_fields_of_the_body(
    fields: Mapping[str, object], contract_path: str, json_path: str
) -> None:
    error = InvalidRequestError([Violation(contract_path, f"`{contract_path}` is bad", "x")])
    translated = parse(**fields).in_json_terms(error)
    assert translated.violations == (Violation(json_path, f"`{json_path}` is bad", "x"),)


def test_an_error_keeps_its_reason_in_the_terms_of_the_body() -> None:
    error = ConstraintInvalidError([Violation("tool_choice.mode", "`tool_choice.mode` is bad")])
    assert isinstance(parse().in_json_terms(error), ConstraintInvalidError)


def test_a_value_too_deep_to_show_is_refused_all_the_same() -> None:
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    assert violations({"chat_template_kwargs": {"a": deep}}) == [("chat_template_kwargs", "invalid_value")]
    assert violations({"prediction": deep}) == [("prediction", "unsupported_parameter")]


def test_every_field_of_the_contract_can_be_set_from_json() -> None:
    special = {"model": "m", "messages": [HI], "stop": "x", "stop_token_ids": [1], "logit_bias": {"1": 1}}
    body = {**{name: values[-1] for name, values in SCALARS.items()}, **special, **COMPOUNDS}
    parsed = parse_chat_request(json.loads(json.dumps(body)))
    fields = {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields}
    assert fields - {"raw_prompt"} == set(body) - {"priority"}  # the legacy API has it
    assert parsed.message.execution_policy.priority == COMPOUNDS["priority"]
    assert parsed.ignored_fields == ()
