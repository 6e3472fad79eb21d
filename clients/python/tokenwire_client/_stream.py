"""The reading of a stream, without any I/O: each event is checked, folded and given on with the answer so far."""

from dataclasses import dataclass

from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent


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
    def completion(self) -> ChatCompletion:
        """The answer so far; after the last update, the whole answer. It is live: it grows with the stream."""
        return self._folder.completion


class StreamReader:
    """Takes the events of one stream. Raises `StreamGrammarError` where one may not stand."""

    def __init__(self) -> None:
        self._checker = StreamChecker()
        self._folder = StreamFolder()

    def take(self, event: ChatCompletionEvent) -> StreamUpdate:
        """The next event."""
        self._checker.check(event)
        self._folder.add(event)
        return StreamUpdate(event, self._folder)

    def end(self) -> None:
        """The call ended with status OK."""
        self._checker.end()
