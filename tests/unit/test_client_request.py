"""What callers pass becomes the contract's request."""

import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tokenwire.v1.chat_pb2 import (
    ChatCompletionRequest,
    Choice,
    ContentPart,
    ContentParts,
    ExecutionPolicy,
    FunctionCall,
    FunctionDefinition,
    Message,
    OnDeadline,
    OnDisconnect,
    Role,
    ServiceTier,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from tokenwire.v1.models_pb2 import ListModelsResponse, Model
from tokenwire_client import (
    InvalidRequestError,
    UnavailableError,
    assistant,
    choice,
    function,
    json_schema,
    lark,
    regex,
    system,
    tool,
    user,
)
from tokenwire_client._request import cancel_request, chat_request, only_model

SCHEMA = {"type": "object", "properties": {"city": {"const": "Zürich"}, "age": {"maximum": 3}}}
SCHEMA_TEXT = '{"type": "object", "properties": {"city": {"const": "Zürich"}, "age": {"maximum": 3}}}'
CALL = ToolCall(id="call_1", function=FunctionCall(name="weather", arguments='{"city": "Zürich"}'))


def test_a_string_is_what_the_user_says() -> None:
    assert list(chat_request("hi", {}).messages) == [Message(role=Role.ROLE_USER, content="hi")]


def test_messages_and_dicts_may_be_mixed() -> None:
    request = chat_request([system("be brief"), {"role": "user", "content": "hi", "name": "ann"}, assistant("yes")], {})
    assert list(request.messages) == [
        Message(role=Role.ROLE_SYSTEM, content="be brief"),
        Message(role=Role.ROLE_USER, content="hi", name="ann"),
        Message(role=Role.ROLE_ASSISTANT, content="yes"),
    ]


def test_content_parts_are_taken() -> None:
    request = chat_request(
        [
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
            }
        ],
        {},
    )
    parts = ContentParts(parts=[ContentPart(text="a"), ContentPart(refusal="no")])
    assert request.messages[0] == Message(role=Role.ROLE_ASSISTANT, content_parts=parts)


def test_a_history_of_calls_may_be_dicts_or_messages() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
    conversation: list[Any] = [
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "look it up"},
        {"role": "tool", "content": "rain", "tool_call_id": "call_1"},
    ]
    answer = Choice(tool_calls=[CALL], reasoning="look it up")
    assert chat_request(conversation, {}) == chat_request([assistant(answer), tool("rain", "call_1")], {})


def test_an_answer_without_text_has_content_only_where_it_has_no_calls() -> None:
    assert not assistant(Choice(tool_calls=[CALL])).HasField("content")
    assert assistant(Choice()) == Message(role=Role.ROLE_ASSISTANT, content="")


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "f"}}]}, "a tool call must be"),
        ({"role": "robot", "content": "hi"}, "'robot'"),
        ({"content": "hi"}, "None"),
        ({"role": "user", "contents": "hi"}, "contents"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "image_url"),
    ],
)
def test_a_dict_that_is_no_message_is_refused_by_what_is_wrong(message: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chat_request([message], {})


def test_zero_is_set_and_none_is_not() -> None:
    request = chat_request("hi", {"temperature": 0.0, "top_p": None, "seed": 0})
    assert request.HasField("temperature")
    assert request.HasField("seed")
    assert not request.HasField("top_p")


def test_one_stop_string_is_one_and_not_its_letters() -> None:
    assert chat_request("hi", {"stop": "END"}).stop == ["END"]


def test_a_tool_may_be_a_dict_with_its_schema_as_json_or_text() -> None:
    tools: list[Any] = [
        {"type": "function", "function": {"name": "f", "description": "does", "parameters": parameters, "strict": True}}
        for parameters in (SCHEMA, SCHEMA_TEXT)
    ]
    made = function("f", SCHEMA, description="does", strict=True)
    assert list(chat_request("hi", {"tools": [*tools, made]}).tools) == [made] * 3
    assert json.loads(made.function.parameters) == SCHEMA


def test_a_function_without_parameters_has_none() -> None:
    request = chat_request("hi", {"tools": [{"type": "function", "function": {"name": "f"}}, function("f")]})
    assert list(request.tools) == [Tool(function=FunctionDefinition(name="f"))] * 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_NONE)),
        ("auto", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_AUTO)),
        ("required", ToolChoice(mode=ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED)),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(function_name="f")),
        (ToolChoice(function_name="f"), ToolChoice(function_name="f")),
    ],
)
def test_a_tool_choice_may_be_a_word_a_dict_or_a_message(given: Any, expected: ToolChoice) -> None:
    assert chat_request("hi", {"tool_choice": given}).tool_choice == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}, json_schema(SCHEMA, name="city")),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA_TEXT}}, json_schema(SCHEMA)),
        ({"type": "regex", "regex": "a+"}, regex("a+")),
        ({"type": "lark", "lark": 'start: "a"'}, lark('start: "a"')),
        ({"type": "choice", "choice": ["yes", "no"]}, choice("yes", "no")),
    ],
)
def test_a_response_format_may_be_a_dict_or_made_by_a_function(given: Any, expected: Any) -> None:
    request = chat_request("hi", {"response_format": given})
    assert request == chat_request("hi", {"response_format": expected})
    assert request.response_format.WhichOneof("format") == given["type"]


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_response_format_that_needs_no_more_than_its_type(kind: Any) -> None:
    assert chat_request("hi", {"response_format": {"type": kind}}).response_format.WhichOneof("format") == kind


def test_a_schema_goes_as_text_with_its_keys_in_order_and_its_letters() -> None:
    assert json_schema(SCHEMA).json_schema.schema == SCHEMA_TEXT


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"tools": [{"type": "retrieval"}]}, "a tool must be"),
        ({"tools": [{"type": "function", "function": {"name": "f", "params": {}}}]}, "params"),
        ({"tool_choice": "any"}, "`tool_choice` must be one of none, auto, required; got 'any'"),
        ({"tool_choice": {"type": "function"}}, "a tool choice must be"),
        ({"response_format": {"type": "xml"}}, "'xml'"),
        ({"response_format": {"regex": "a"}}, "a response format must be"),
        ({"response_format": {"type": "regex", "regex": "a", "choice": ["a"]}}, "choice"),
        ({"response_format": {"type": "choice", "choice": "yes"}}, "'yes'"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "scheme": {}}}}, "scheme"),
        ({"service_tier": "fast"}, "`service_tier` must be one of auto, default, flex, priority; got 'fast'"),
    ],
)
def test_what_is_no_tool_form_or_tier_is_refused_by_what_is_wrong(parameters: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chat_request("hi", parameters)


@pytest.mark.parametrize(
    "parameters", [{"tools": ["f"]}, {"tool_choice": 1}, {"response_format": "json_object"}, {"service_tier": 1.5}]
)
def test_values_of_a_wrong_type_are_refused(parameters: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        chat_request("hi", parameters)


@pytest.mark.parametrize("tier", ["flex", ServiceTier.SERVICE_TIER_FLEX])
def test_a_service_tier_may_be_a_word_or_a_value(tier: Any) -> None:
    assert chat_request("hi", {"service_tier": tier}).service_tier == ServiceTier.SERVICE_TIER_FLEX


def test_the_small_new_parameters_reach_the_request() -> None:
    request = chat_request(
        "hi",
        {
            "chat_template_kwargs": {"enable_thinking": False},
            "execution_policy": {"priority": -3},
            "metadata": {"team": "blue"},
            "bad_words": ["darn"],
            "parallel_tool_calls": False,
            "prompt_logprobs": 0,
        },
    )
    assert json.loads(request.chat_template_kwargs) == {"enable_thinking": False}
    assert request.execution_policy == ExecutionPolicy(priority=-3)
    assert (dict(request.metadata), list(request.bad_words)) == ({"team": "blue"}, ["darn"])
    assert request.HasField("parallel_tool_calls")
    assert request.HasField("prompt_logprobs")


def test_an_execution_policy_is_told_in_seconds_and_words() -> None:
    policy: Any = {
        "max_queue_time_s": 2,
        "time_budget_s": 0.25,
        "on_deadline": "return_partial",
        "on_disconnect": "detach",
        "retain_for_s": 90,
        "priority": None,
    }
    assert chat_request("hi", {"execution_policy": policy}).execution_policy == ExecutionPolicy(
        max_queue_time=Duration(seconds=2),
        time_budget=Duration(nanos=250_000_000),
        on_deadline=OnDeadline.ON_DEADLINE_RETURN_PARTIAL,
        on_disconnect=OnDisconnect.ON_DISCONNECT_DETACH,
        retain_for=Duration(seconds=90),
    )
    whole = ExecutionPolicy(priority=7)
    assert chat_request("hi", {"execution_policy": whole}).execution_policy == whole


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ({"time_budget": 1}, ValueError),
        ({"time_budget_s": float("inf")}, ValueError),
        ({"time_budget_s": float("nan")}, ValueError),
        ({"time_budget_s": "1"}, TypeError),
        ({"on_deadline": "partly"}, ValueError),
        ("detach", TypeError),
    ],
)
def test_what_is_no_execution_policy_is_refused(policy: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        chat_request("hi", {"execution_policy": policy})


def test_a_completion_is_cancelled_by_one_of_its_names() -> None:
    assert cancel_request("chatcmpl-1", None).completion_id == "chatcmpl-1"
    assert cancel_request(None, "mine").request_id == "mine"
    for both_or_none in [("chatcmpl-1", "mine"), (None, None)]:
        with pytest.raises(ValueError, match="completion_id"):
            cancel_request(*both_or_none)


def test_a_response_format_replaces_that_of_a_whole_request() -> None:
    given = ChatCompletionRequest(messages=[user("hi")], response_format=json_schema(SCHEMA), tools=[function("f")])
    request = chat_request(given, {"response_format": regex("a"), "tools": [function("g")]})
    assert request.response_format == regex("a")
    assert list(request.tools) == [function("g")]


def test_parameters_win_over_those_of_a_whole_request_and_leave_it_alone() -> None:
    given = ChatCompletionRequest(messages=[user("hi")], stop=["a"], temperature=1.5, ignore_eos=True, top_k=4)
    request = chat_request(given, {"stop": ["b"], "temperature": 0.0, "ignore_eos": False})
    assert list(request.stop) == ["b"]
    assert (request.temperature, request.ignore_eos, request.top_k) == (0.0, False, 4)
    assert list(request.messages) == [user("hi")]
    assert given.stop == ["a"]


def test_the_only_model_is_the_default() -> None:
    assert only_model(ListModelsResponse(models=[Model(id="m")])) == "m"


def test_several_models_ask_for_a_choice_and_name_them() -> None:
    with pytest.raises(InvalidRequestError, match="a, b") as caught:
        only_model(ListModelsResponse(models=[Model(id="b"), Model(id="a")]))
    assert caught.value.violations[0].field == "model"


def test_no_model_yet_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught:
        only_model(ListModelsResponse())
    assert caught.value.reason == "MODEL_LOADING"
