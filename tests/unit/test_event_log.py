"""The events of one completion: merged for readers, dropped, found again."""

import pytest

from tokenwire.chat.live.event_log import MAX_MERGED_BYTES, EventLog
from tokenwire.errors import InvalidRequestError, ResumeWindowError
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, Delta, Finished, TokenLogprob, ToolCallDelta


def delta(sequence: int, content: str = "", index: int = 0, **fields: object) -> ChatCompletionEvent:
    return ChatCompletionEvent(sequence=sequence, delta=Delta(index=index, content=content, **fields))  # type: ignore[arg-type]


def log_of(*events: ChatCompletionEvent) -> EventLog:
    log = EventLog()
    for event in events:
        log.append(event)
    return log


def read(log: EventLog, position: int = 0) -> list[ChatCompletionEvent]:
    events = []
    while (found := log.next(position)) is not None:
        event, position = found
        events.append(event)
    return events


def test_deltas_of_one_choice_in_a_row_are_one() -> None:
    first = TokenLogprob(token="a")
    second = TokenLogprob(token="b")
    call = ToolCallDelta(index=0, id="x", name="f")
    more = ToolCallDelta(index=0, arguments="{}")
    log = log_of(
        delta(1, "a", logprobs=[first], reasoning="r", tool_calls=[call]),
        delta(2, "b", logprobs=[second], reasoning="s", tool_calls=[more]),
        delta(3, "c", index=1),
        ChatCompletionEvent(sequence=4, finished=Finished(index=1)),
        delta(5, "d"),
    )
    merged = delta(2, "ab", logprobs=[first, second], reasoning="rs", tool_calls=[call, more])
    assert [event.sequence for event in read(log)] == [2, 3, 4, 5]
    assert read(log)[0] == merged


def test_events_that_are_kept_are_not_changed_by_merging() -> None:
    log = log_of(delta(1, "a"), delta(2, "b"))
    read(log)
    assert read(log, 1) == [delta(2, "b")]
    assert read(log) == [delta(2, "ab")]


def test_merged_deltas_stay_small() -> None:
    log = log_of(*(delta(number, "x" * 1000) for number in range(1, 101)))
    events = read(log)
    assert all(event.ByteSize() <= MAX_MERGED_BYTES for event in events)
    assert len(events) == 2
    assert "".join(event.delta.content for event in events) == "x" * 100_000


def test_a_position_is_found_by_the_sequence_before_it() -> None:
    log = log_of(delta(0), delta(3), delta(7))
    assert [log.position_after(sequence) for sequence in (-1, 0, 3, 7)] == [0, 1, 2, 3]
    for unknown in (1, 8):
        with pytest.raises(InvalidRequestError, match=f"has come to 7; got {unknown}"):
            log.position_after(unknown)


def test_what_is_dropped_cannot_be_found() -> None:
    log = log_of(delta(0), delta(3), delta(7))
    log.drop_until(2)
    assert log.position_after(3) == 2
    for sequence in (-1, 0):
        with pytest.raises(ResumeWindowError) as caught:
            log.position_after(sequence)
        assert caught.value.first_sequence == 7
    with pytest.raises(ResumeWindowError):
        log.next(0)
    log.drop_until(99)
    assert (log.position_after(7), log.last_sequence, log.end) == (3, 7, 3)


def test_growth_is_told_and_given_back() -> None:
    growth: list[int] = []
    log = EventLog(on_growth=growth.append)
    log.append(delta(1, "x" * 1000))
    log.append(delta(2))
    assert growth[0] > 1000
    assert sum(growth) == log.num_bytes == log.bytes_after(0)
    assert log.bytes_after(1) == growth[1]
    log.drop_until(2)
    assert sum(growth) == log.num_bytes == 0
