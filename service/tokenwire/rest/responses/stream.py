"""The events of a response as server-sent events: each has its name, and nothing comes behind the last."""

from collections.abc import Iterator

from tokenwire.errors import TokenwireError
from tokenwire.rest.responses.answers import JsonObject
from tokenwire.rest.responses.events import ResponseEvents
from tokenwire.rest.sse import named_event
from tokenwire.v1.chat_pb2 import ChatCompletionEvent


class ResponseStream:
    """A `StreamWriter`."""

    def __init__(self, events: ResponseEvents) -> None:
        self._events = events

    def opening(self) -> Iterator[bytes]:
        """That there is a response, and that it is worked on."""
        return map(_named, self._events.opening())

    def pieces(self, event: ChatCompletionEvent) -> Iterator[bytes]:
        """The events of an event."""
        return map(_named, self._events.events(event))

    def closing(self) -> bytes:
        """The whole response."""
        return _named(self._events.last())

    def failure(self, error: TokenwireError) -> bytes:
        """The error, and the response that failed."""
        return b"".join(map(_named, self._events.failure(error)))


def _named(event: JsonObject) -> bytes:
    return named_event(str(event["type"]), event)
