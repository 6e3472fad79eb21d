"""Whatever an engine gives, and wherever readers are cut off: resumed streams fold to the uncut answer."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fake_engine import FakeEngine, Step, make_info, output
from support.streams import detached, fold, take
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.engine.protocol import FinishReason, SequenceOutput, TokenLogprobs
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ResumeChatCompletionRequest


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


@st.composite
def scripts(draw: st.DrawFn, *, scored: bool) -> list[list[SequenceOutput]]:
    """What an engine gives to two choices, in frames of any size, up to the end of both."""
    frames: list[list[SequenceOutput]] = []
    is_open = {0: True, 1: True}
    for _ in range(draw(st.integers(1, 12))):
        frame = []
        for index in draw(st.lists(st.sampled_from([0, 1]), max_size=3)):
            tokens = tuple(draw(st.lists(st.integers(3, 499), min_size=1, max_size=3)))
            logprobs = tuple(TokenLogprobs(-1.0, ((token, -1.0),)) for token in tokens) if scored else ()
            is_last = is_open[index] and draw(st.integers(0, 9)) == 0
            if is_open[index]:
                finish = FinishReason.LENGTH if is_last else None
                frame.append(output(*tokens, index=index, logprobs=logprobs, finish=finish))
            is_open[index] &= not is_last
        frames.append(frame)
    frames.append([output(index=index, finish=FinishReason.LENGTH) for index, open_ in is_open.items() if open_])
    return [frame for frame in frames if frame]


@settings(deadline=None, max_examples=60)
@given(st.data(), st.booleans(), st.sampled_from([[], ["the"], ["a", "!"]]))
async def test_cut_and_resumed_streams_fold_to_the_uncut_answer(
    model: ServedModel, data: st.DataObject, scored: bool, stop: list[str]
) -> None:
    script = data.draw(scripts(scored=scored))
    asked = detached(n=2, seed=1, logprobs=scored, top_logprobs=1 if scored else None, stop=stop)
    uncut = fold(await take(_service(model, script).stream(asked)))

    service = _service(model, script)
    stream = service.stream(asked)
    events = await take(stream, 1)
    for num_events in data.draw(st.lists(st.integers(0, 3), max_size=6)):
        async with aclosing(stream):
            events += await take(stream, num_events)
        for _ in range(data.draw(st.integers(0, 6))):
            await asyncio.sleep(0)  # the completion goes on without readers
        stream = service.resume(_after(events))
    async with aclosing(stream):
        events += await take(stream)
    assert fold(events) == uncut
    assert service.active == 0


def _service(model: ServedModel, script: Sequence[Step]) -> ChatService:
    service = ChatService(FakeEngine(script), max_queue=8, max_request_bytes=1000)
    service.open(model)
    return service


def _after(events: Sequence[ChatCompletionEvent]) -> ResumeChatCompletionRequest:
    return ResumeChatCompletionRequest(completion_id=events[0].started.id, after_sequence=events[-1].sequence)
