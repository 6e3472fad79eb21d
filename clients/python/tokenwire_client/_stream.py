"""The reading of a stream, without any I/O: each event is checked, folded and given on with the answer so far."""

from dataclasses import dataclass

from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, Heartbeat


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """One event of a stream, with the answer so far."""

    event: ChatCompletionEvent
    """What is new."""
    _folder: StreamFolder

    @property
    def text(self) -> str:
        """The new text; empty for an event that has none. Where `n` > 1, `event.delta.index` says whose it is.

        Parts of tool calls are in `event.delta.tool_calls`; the calls so far in `completion`.
        """
        return self.event.delta.content

    @property
    def reasoning(self) -> str:
        """The new reasoning, which comes before any text; empty for an event that has none."""
        return self.event.delta.reasoning

    @property
    def heartbeat(self) -> Heartbeat | None:
        """While nothing new comes: where the completion is, and its place in the queue; else None."""
        return self.event.heartbeat if self.event.HasField("heartbeat") else None

    @property
    def completion(self) -> ChatCompletion:
        """The answer so far; after the last update, the whole answer. It is live: it grows with the stream."""
        return self._folder.completion


class StreamReader:
    """Takes the events of one completion. Raises `StreamGrammarError` where one may not stand."""

    def __init__(self, *, after_sequence: int | None = None) -> None:
        """`after_sequence`: the events after this one come, and the answer is what they have of it."""
        self._checker = StreamChecker(after_sequence=after_sequence)
        self._folder = StreamFolder()

    def take(self, event: ChatCompletionEvent) -> StreamUpdate:
        """The next event."""
        self._checker.check(event)
        self._folder.add(event)
        return StreamUpdate(event, self._folder)

    def end(self) -> None:
        """The call ended with status OK."""
        self._checker.end()
