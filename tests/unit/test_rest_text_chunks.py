"""Chunks of text are those that the long way makes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tokenwire.rest.chat.chunks import ChunkWriter
from tokenwire.rest.chat.text_chunks import TextChunks
from tokenwire.rest.sse import ChunkStream
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    Delta,
    EffectiveParameters,
    Finished,
    FinishReason,
    ServiceTier,
    Started,
    TokenLogprob,
    ToolCallDelta,
)

# A name that looks like what stands around a text.
MODEL = '"text" {"content":"text"}'

texts = st.text(max_size=20) | st.sampled_from(['"', "\\", "\n\n", "\u2028", "data: [DONE]", "text", "\x00"])
deltas = st.builds(
    Delta,
    index=st.integers(0, 3),
    content=texts,
    reasoning=st.just("") | texts,
    logprobs=st.lists(st.just(TokenLogprob(token="a", logprob=-0.5, bytes=b"a")), max_size=1),
    tool_calls=st.lists(st.just(ToolCallDelta(id="call_1", name="f")), max_size=1),
)


def long_and_short(*, include_usage: bool) -> tuple[ChunkStream[ChatCompletionEvent], TextChunks]:
    parameters = EffectiveParameters(n=4)
    started = Started(id="c", model=MODEL, parameters=parameters, service_tier=ServiceTier.SERVICE_TIER_DEFAULT)
    chunks = ChunkWriter(started, include_usage=include_usage)
    return ChunkStream(chunks), TextChunks(chunks)


@given(st.lists(deltas, max_size=5), st.booleans())
def test_the_short_way_gives_the_same_bytes(given_deltas: list[Delta], include_usage: bool) -> None:
    long, short = long_and_short(include_usage=include_usage)
    assert list(short.opening()) == list(long.opening())
    for delta in given_deltas:
        event = ChatCompletionEvent(delta=delta)
        assert list(short.pieces(event)) == list(long.pieces(event))
    assert short.closing() == long.closing()


@given(st.text(min_size=1))
def test_every_text_is_one_line_of_json(text: str) -> None:
    _, short = long_and_short(include_usage=False)
    (piece,) = short.pieces(ChatCompletionEvent(delta=Delta(index=1, content=text)))
    assert piece.splitlines()[1:] == [b""]
    (choice,) = json.loads(piece.removeprefix(b"data: "))["choices"]
    assert (choice["index"], choice["delta"]) == (1, {"content": text})


def test_other_events_go_the_long_way() -> None:
    _, short = long_and_short(include_usage=False)
    finished = Finished(index=2, finish_reason=FinishReason.FINISH_REASON_STOP)
    (piece,) = short.pieces(ChatCompletionEvent(finished=finished))
    (choice,) = json.loads(piece.removeprefix(b"data: "))["choices"]
    assert (choice["index"], choice["finish_reason"]) == (2, "stop")
