"""The events of one completion, in order, for readers that come when they like."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from tokenwire.errors import InvalidRequestError, ResumeWindowError, TokenwireError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionEvent

MAX_MERGED_BYTES = 64 * 1024
"""Deltas that are merged for a reader stay below about this, far from the 4 MiB that clients take by default."""

MESSAGE_OVERHEAD_BYTES = 900
"""What an event of a live log takes beside its bytes on the wire: measured, a delta with a short text."""

PACKED_OVERHEAD_BYTES = 48
"""The same of an event of a log that has ended: only its bytes are kept, for hardly anybody reads it again."""

Kept = ChatCompletionEvent | bytes
"""An event of a live log, or of one that has ended."""


class EventLog:
    """Events are appended until the log ends, with or without an error. A position counts events from the first one."""

    def __init__(self, *, on_growth: Callable[[int], None] = lambda num_bytes: None) -> None:
        """`on_growth` is told the bytes that each event takes, and, below zero, those of dropped ones."""
        self._events: deque[Kept] = deque()
        self._first = 0  # position of the first one that is kept
        self._num_bytes = 0
        self._dropped_sequence = -1
        self._on_growth = on_growth
        self.has_ended = False
        self.error: TokenwireError | None = None
        """Why it ended before the completion was complete."""

    @property
    def num_bytes(self) -> int:
        """What the kept events take."""
        return self._num_bytes

    @property
    def end(self) -> int:
        """The position after the last event."""
        return self._first + len(self._events)

    @property
    def last_sequence(self) -> int:
        """Of the last event that was appended; -1 before the first."""
        return _read(self._events[-1]).sequence if self._events else self._dropped_sequence

    def append(self, event: ChatCompletionEvent) -> None:
        """Add an event; its sequence is higher than those before it."""
        self._events.append(event)
        self._grow(_size(event))

    def finish(self, error: TokenwireError | None = None) -> None:
        """No more events will come."""
        self.has_ended = True
        self.error = error
        self._events = deque(kept if isinstance(kept, bytes) else kept.SerializeToString() for kept in self._events)
        self._grow(self.bytes_after(0) - self._num_bytes)

    def next(self, position: int) -> tuple[ChatCompletionEvent, int] | None:
        """The event at a position, merged with deltas of the same choice right behind it, and the position after them.

        None where nothing has come yet. Raises `ResumeWindowError` if it is not kept any more.
        """
        if position < self._first:
            raise ResumeWindowError(after_sequence=self._dropped_sequence - 1, first_sequence=self._first_sequence())
        index = position - self._first
        if index >= len(self._events):
            return None
        run = self._run(index)
        return (run[0] if len(run) == 1 else _merged(run)), position + len(run)

    def position_after(self, sequence: int) -> int:
        """The position of the event after the one with this sequence.

        Raises `ResumeWindowError` if events after it are not kept, `InvalidRequestError` if no event has had it.
        """
        if sequence < self._dropped_sequence:
            raise ResumeWindowError(after_sequence=sequence, first_sequence=self._first_sequence())
        if sequence == self._dropped_sequence:
            return self._first
        for index, kept in enumerate(self._events):
            if _read(kept).sequence == sequence:
                return self._first + index + 1
        raise InvalidRequestError(
            [
                Violation(
                    "after_sequence",
                    f"`after_sequence` must be the sequence of an event of the completion, which has come to "
                    f"{self.last_sequence}; got {sequence}",
                )
            ]
        )

    def bytes_after(self, position: int) -> int:
        """What the events from a position on take."""
        return sum(_size(kept) for kept in islice(self._events, max(position - self._first, 0), None))

    def drop_until(self, position: int) -> None:
        """Forget the events before a position."""
        dropped: Kept | None = None
        while self._first < position and self._events:
            dropped = self._events.popleft()
            self._first += 1
            self._grow(-_size(dropped))
        if dropped is not None:
            self._dropped_sequence = _read(dropped).sequence

    def _first_sequence(self) -> int:
        return _read(self._events[0]).sequence if self._events else self._dropped_sequence + 1

    def _grow(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        self._on_growth(num_bytes)

    def _run(self, index: int) -> list[ChatCompletionEvent]:
        """The event there, and the deltas that can be merged with it."""
        first = _read(self._events[index])
        run = [first]
        if index + 1 == len(self._events) or not first.HasField("delta"):
            return run
        num_bytes = first.ByteSize()
        for event in map(_read, islice(self._events, index + 1, None)):
            num_bytes += event.ByteSize()
            if num_bytes > MAX_MERGED_BYTES or not event.HasField("delta") or event.delta.index != first.delta.index:
                break
            run.append(event)
        return run


def _read(kept: Kept) -> ChatCompletionEvent:
    return ChatCompletionEvent.FromString(kept) if isinstance(kept, bytes) else kept


def _size(kept: Kept) -> int:
    return len(kept) + PACKED_OVERHEAD_BYTES if isinstance(kept, bytes) else kept.ByteSize() + MESSAGE_OVERHEAD_BYTES


def _merged(run: list[ChatCompletionEvent]) -> ChatCompletionEvent:
    """One delta with all that these say, and the sequence of the last."""
    merged = ChatCompletionEvent(sequence=run[-1].sequence)
    delta = merged.delta
    for event in run:
        delta.MergeFrom(event.delta)  # lists are joined, texts replaced
    delta.content = "".join(event.delta.content for event in run)
    delta.reasoning = "".join(event.delta.reasoning for event in run)
    return merged
