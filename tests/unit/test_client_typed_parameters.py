"""What a person types after `/set` becomes a parameter, or a message that says what is wrong."""

import pytest

from tokenwire.cli.parameters import set_parameter
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, ResponseFormat, ServiceTier


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("temperature", "0.2", ChatCompletionRequest(temperature=0.2)),
        ("temperature", "0", ChatCompletionRequest(temperature=0)),
        ("seed", "-9223372036854775808", ChatCompletionRequest(seed=-(2**63))),
        ("ignore_eos", "true", ChatCompletionRequest(ignore_eos=True)),
        ("stop", "END", ChatCompletionRequest(stop=["END"])),
        ("stop", "two words", ChatCompletionRequest(stop=["two words"])),
        ("stop", "7", ChatCompletionRequest(stop=["7"])),
        ("stop", '["a", "b"]', ChatCompletionRequest(stop=["a", "b"])),
        ("stop_token_ids", "3", ChatCompletionRequest(stop_token_ids=[3])),
        ("logit_bias", '{"42": -100}', ChatCompletionRequest(logit_bias={42: -100})),
        ("model", "123", ChatCompletionRequest(model="123")),
        ("store", "true", ChatCompletionRequest(store=True)),
        ("metadata", '{"team": "blue"}', ChatCompletionRequest(metadata={"team": "blue"})),
        ("service_tier", "flex", ChatCompletionRequest(service_tier=ServiceTier.SERVICE_TIER_FLEX)),
        ("execution_policy", '{"priority": 5}', ChatCompletionRequest(execution_policy=ExecutionPolicy(priority=5))),
        (
            "response_format",
            '{"type": "regex", "regex": "a+"}',
            ChatCompletionRequest(response_format=ResponseFormat(regex="a+")),
        ),
        (
            "chat_template_kwargs",
            '{"enable_thinking": false}',
            ChatCompletionRequest(chat_template_kwargs='{"enable_thinking": false}'),
        ),
    ],
)
def test_a_typed_value_is_read_by_the_type_of_its_field(name: str, text: str, expected: ChatCompletionRequest) -> None:
    request = ChatCompletionRequest()
    set_parameter(request, name, text)
    assert request == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "hot", "`temperature` must be a number; got hot"),
        ("temperature", "true", "`temperature` must be a number; got true"),
        ("top_k", "1.5", "`top_k` must be an integer; got 1.5"),
        ("top_k", "99999999999", "`top_k` must be an integer; got 99999999999"),
        ("ignore_eos", "1", "`ignore_eos` must be true or false; got 1"),
        ("stop", "[1]", "`stop` must be text or a JSON list; got [1]"),
        (
            "response_format",
            "json",
            '`response_format` must be a JSON object such as {"type": "json_object"}; got json',
        ),
        ("metadata", "blue", '`metadata` must be a JSON object such as {"key": "value"}; got blue'),
        ("execution_policy", "5", '`execution_policy` must be a JSON object such as {"priority": 5}; got 5'),
        ("service_tier", "fast", "`service_tier` must be one of auto, default, flex, priority; got 'fast'"),
        ("logit_bias", "42", '`logit_bias` must be a JSON object such as {"42": -100}; got 42'),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_and_changes_nothing(name: str, text: str, message: str) -> None:
    request = ChatCompletionRequest(temperature=0.5)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is compared whole)
        set_parameter(request, name, text)
    assert str(caught.value) == message
    assert request == ChatCompletionRequest(temperature=0.5)


NOT_TYPED = {"messages", "raw_prompt", "n", "tools", "tool_choice", "parallel_tool_calls", "request_id"}
ANY_TEXT = {"model", "user", "chat_template_kwargs"}


@pytest.mark.parametrize(
    "name", sorted({field.name for field in ChatCompletionRequest.DESCRIPTOR.fields} - NOT_TYPED - ANY_TEXT)
)
def test_every_parameter_says_what_it_must_be(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        set_parameter(ChatCompletionRequest(), name, "[[1]]")


@pytest.mark.parametrize("name", ["temprature", *sorted(NOT_TYPED), ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"no parameter .* there are: model, temperature"):
        set_parameter(ChatCompletionRequest(), name, "1")


def test_a_new_list_replaces_the_old_one_and_no_value_is_the_default() -> None:
    request = ChatCompletionRequest(stop=["old"], temperature=0)
    set_parameter(request, "stop", "new")
    set_parameter(request, "temperature", "")
    assert request == ChatCompletionRequest(stop=["new"])
