"""Events of a stream become chunks."""

from tokenwire.rest.chat.chunks import ChunkWriter
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    Delta,
    EffectiveParameters,
    PromptLogprobs,
    ServiceTier,
    Started,
    TokenLogprob,
    ToolCallDelta,
)

STARTED = Started(id="chatcmpl-1", parameters=EffectiveParameters(n=1), service_tier=ServiceTier.SERVICE_TIER_DEFAULT)
TOKEN = TokenLogprob(token="a", logprob=-0.5, bytes=b"a", token_id=7)
TOKEN_JSON = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}

Json = dict[str, object]


def choices_of(**event: object) -> list[Json]:
    """The one choice of each chunk of an event."""
    chunks = ChunkWriter(STARTED, include_usage=False).chunks(ChatCompletionEvent(**event))  # type: ignore[arg-type]
    return [choice for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]


def deltas(**fields: object) -> list[object]:
    """The deltas of the chunks of one delta of the contract."""
    return [choice["delta"] for choice in choices_of(delta=Delta(**fields))]  # type: ignore[arg-type]


def test_content_and_reasoning_have_their_own_names() -> None:
    assert deltas(content="x") == [{"content": "x"}]
    assert deltas(reasoning="x") == [{"reasoning_content": "x"}]


def test_a_call_has_its_id_type_and_name_once() -> None:
    parts = [ToolCallDelta(index=1, id="call_1", name="f"), ToolCallDelta(index=1, arguments='{"a"')]
    function = {"name": "f", "arguments": ""}
    assert deltas(tool_calls=parts) == [
        {
            "tool_calls": [
                {"index": 1, "id": "call_1", "type": "function", "function": function},
                {"index": 1, "function": {"arguments": '{"a"'}},
            ]
        }
    ]


def test_each_kind_of_text_has_its_own_chunk_in_the_order_of_the_answer() -> None:
    kinds = deltas(reasoning="r", content="c", tool_calls=[ToolCallDelta(id="call_1", name="f")])
    assert [list(delta) for delta in kinds if isinstance(delta, dict)] == [
        ["reasoning_content"],
        ["content"],
        ["tool_calls"],
    ]


def test_log_probabilities_are_told_once_also_without_a_text() -> None:
    logprobs = {"content": [TOKEN_JSON], "refusal": None}
    both = choices_of(delta=Delta(reasoning="r", content="c", logprobs=[TOKEN]))
    assert [choice["logprobs"] for choice in both] == [logprobs, None]
    (alone,) = choices_of(delta=Delta(logprobs=[TOKEN]))
    assert (alone["delta"], alone["logprobs"]) == ({"content": ""}, logprobs)


def test_log_probabilities_of_the_prompt_stand_beside_an_empty_delta() -> None:
    event = ChatCompletionEvent(prompt_logprobs=PromptLogprobs(tokens=[TOKEN]))
    (chunk,) = ChunkWriter(STARTED, include_usage=True).chunks(event)
    assert chunk["prompt_logprobs"] == [TOKEN_JSON]
    assert chunk["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}]
    assert chunk["usage"] is None


def test_every_chunk_tells_the_tier() -> None:
    writer = ChunkWriter(STARTED, include_usage=False)
    chunks = [*writer.opening(), *writer.chunks(ChatCompletionEvent(delta=Delta(content="x")))]
    assert [chunk["service_tier"] for chunk in chunks] == ["default", "default"]
