"""Contract messages become JSON answers: calls, reasoning, tiers, log-probabilities, stored completions."""

from google.protobuf.timestamp_pb2 import Timestamp

from tokenwire.rest.chat.answers import completion_json, stored_json
from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    Choice,
    CompletionState,
    FinishReason,
    FunctionCall,
    ServiceTier,
    StoredChatCompletion,
    TokenLogprob,
    ToolCall,
    Usage,
)

CALL = ToolCall(id="call_1", function=FunctionCall(name="f", arguments='{"a":1}'))
CALL_JSON = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
TOKEN = TokenLogprob(token="a", logprob=-0.5, bytes=b"a", token_id=7)
TOKEN_JSON = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def completion(**fields: object) -> ChatCompletion:
    choice = Choice(finish_reason=FinishReason.FINISH_REASON_STOP, **fields)  # type: ignore[arg-type]
    return ChatCompletion(id="chatcmpl-1", choices=[choice], service_tier=ServiceTier.SERVICE_TIER_FLEX)


def message_json(**fields: object) -> object:
    """The message of an answer whose choice has these fields."""
    choices = completion_json(completion(**fields), logprobs=False, prompt_logprobs=False)["choices"]
    assert isinstance(choices, list)
    return choices[0]["message"]


def test_calls_without_a_text_have_null_content() -> None:
    bare = {"role": "assistant", "refusal": None}
    assert message_json(tool_calls=[CALL]) == {**bare, "content": None, "tool_calls": [CALL_JSON]}
    assert message_json(content="x", tool_calls=[CALL]) == {**bare, "content": "x", "tool_calls": [CALL_JSON]}
    assert message_json(content="") == {**bare, "content": ""}


def test_reasoning_is_beside_the_content_where_there_is_any() -> None:
    thought = {"role": "assistant", "content": "4", "refusal": None, "reasoning_content": "2 + 2"}
    assert message_json(content="4", reasoning="2 + 2") == thought


def test_the_finish_reason_of_calls_has_its_own_name() -> None:
    whole = completion(tool_calls=[CALL])
    whole.choices[0].finish_reason = FinishReason.FINISH_REASON_TOOL_CALLS
    choices = completion_json(whole, logprobs=False, prompt_logprobs=False)["choices"]
    assert isinstance(choices, list)
    assert choices[0]["finish_reason"] == "tool_calls"


def test_reasoning_tokens_are_counted_apart() -> None:
    whole = completion()
    whole.usage.CopyFrom(Usage(completion_tokens=5, reasoning_tokens=3))
    usage = completion_json(whole, logprobs=False, prompt_logprobs=False)["usage"]
    assert isinstance(usage, dict)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 3}


def test_log_probabilities_of_the_prompt_are_there_only_if_asked() -> None:
    whole = completion()
    assert "prompt_logprobs" not in completion_json(whole, logprobs=False, prompt_logprobs=False)
    assert completion_json(whole, logprobs=False, prompt_logprobs=True)["prompt_logprobs"] == []
    whole.prompt_logprobs.append(TOKEN)
    assert completion_json(whole, logprobs=False, prompt_logprobs=True)["prompt_logprobs"] == [TOKEN_JSON]


def test_a_stored_completion_is_the_answer_and_what_was_kept_with_it() -> None:
    whole = completion(content="a", logprobs=[TOKEN])
    whole.prompt_logprobs.append(TOKEN)
    stored = StoredChatCompletion(
        completion=whole,
        metadata={"run": "7"},
        user="somebody",
        expire_time=Timestamp(seconds=9),
        state=CompletionState.COMPLETION_STATE_COMPLETED,
    )
    answer, read = completion_json(whole, logprobs=True, prompt_logprobs=True), stored_json(stored)
    assert {**read, "tokenwire": None} == {**answer, "metadata": {"run": "7"}, "tokenwire": None}
    extension, own = read["tokenwire"], answer["tokenwire"]
    assert isinstance(own, dict)
    assert extension == {**own, "user": "somebody", "state": "completed", "expires_at": 9}


def test_the_tier_is_told_in_lower_case() -> None:
    assert completion_json(completion(), logprobs=False, prompt_logprobs=False)["service_tier"] == "flex"
