"""Server-sent events: the stream of a completion as an HTTP answer."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenwire.chat.caller import CURRENT
from tokenwire.errors import TokenwireError
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import unless_disconnected
from tokenwire.rest.connections import ABORT_KEY
from tokenwire.rest.errors import error_json, told
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest

_DONE = b"data: [DONE]\n\n"
# Made once, not for every chunk. ASCII only: some readers of server-sent events also split lines at U+2028 and U+0085.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
JsonObject = dict[str, object]
_KEEPALIVE = ServerSentEvent(comment="keepalive", sep="\n")


Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)
Event_contra = TypeVar("Event_contra", contravariant=True)
"""What a stream consists of: events of the contract, or these with what they belong to."""


class EventStream(Protocol[Event_co]):
    """A stream that is over once it is closed, as a generator is."""

    def __aiter__(self) -> AsyncIterator[Event_co]: ...

    async def aclose(self) -> object: ...


class StreamWriter(Protocol[Event_contra]):
    """Puts a stream into the form of an API. Each piece is one or more whole server-sent events."""

    def opening(self) -> Iterator[bytes]:
        """Before any event."""

    def pieces(self, event: Event_contra) -> Iterator[bytes]:
        """Of one event."""

    def closing(self) -> bytes:
        """After the last event."""

    def failure(self, error: TokenwireError) -> bytes:
        """Instead of what would have come."""


class ChunkSource(Protocol[Event_contra]):
    """Makes the chunks of an API whose events have no names."""

    def opening(self) -> Iterator[JsonObject]:
        """Before any event."""

    def chunks(self, event: Event_contra) -> Iterator[JsonObject]:
        """Of one event."""


class ChunkStream(Generic[Event]):
    """A `StreamWriter` of chunks, `[DONE]` behind them, or the error object in its place."""

    def __init__(self, source: ChunkSource[Event]) -> None:
        self._source = source

    def opening(self) -> Iterator[bytes]:
        """The first chunks."""
        return map(_data, self._source.opening())

    def pieces(self, event: Event) -> Iterator[bytes]:
        """The chunks of an event."""
        return map(_data, self._source.chunks(event))

    def closing(self) -> bytes:
        """`[DONE]`."""
        return _DONE

    def failure(self, error: TokenwireError) -> bytes:
        """The error object."""
        return _data(error_json(error))


def _data(value: Mapping[str, object]) -> bytes:
    return f"data: {_to_json(value)}\n\n".encode("ascii")


def named_event(name: str, value: Mapping[str, object]) -> bytes:
    """An event with a name."""
    return f"event: {name}\ndata: {_to_json(value)}\n\n".encode("ascii")


async def first_event(
    request: Request, backend: ChatBackend, message: ChatCompletionRequest
) -> tuple[ChatCompletionEvent, AsyncGenerator[ChatCompletionEvent, None]]:
    """Ask for a stream and wait for its first event, so that a refusal is a plain HTTP error; then the others."""
    abort = request.scope[ABORT_KEY]  # a client that reads too slowly is told nothing: it would not read that, too
    events = backend.stream(message, caller=CURRENT.get(), on_slow=lambda error: abort())
    try:
        return await unless_disconnected(request, anext(events)), events
    except BaseException:  # also where the client left: the generation ends at once
        await events.aclose()
        raise


def stream_response(
    writer: StreamWriter[Event],
    events: EventStream[Event],
    *,
    headers: Mapping[str, str],
    keepalive_s: float,
) -> ASGIApp:
    """Answer with what `writer` makes of `events`, from which `started` has been taken already. What ends the answer, a
    client that goes away among it, closes `events`. A quiet stream carries a comment each `keepalive_s` seconds."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(writer, events)

        async def send_in_order(message: Message) -> None:
            # sse-starlette waits between making a comment and sending it: the body may have ended since.
            if not (body.ended and message.get("body") == _KEEPALIVE.encode()):
                await send(message)

        response = EventSourceResponse(
            body.pieces(), headers=headers, ping=keepalive_s, ping_message_factory=lambda: _KEEPALIVE
        )
        async with aclosing(events):
            await response(scope, receive, send_in_order)

    return respond


class _Body(Generic[Event]):
    """What is sent: the pieces and the end, or after a failure the error instead."""

    def __init__(self, writer: StreamWriter[Event], events: EventStream[Event]) -> None:
        self._writer = writer
        self._events = events
        self.ended = False
        """The last piece is on its way: after it there is nothing, not even a comment."""

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._writer.opening():
                yield piece
            async for event in self._events:
                for piece in self._writer.pieces(event):
                    yield piece
            last = self._writer.closing()
        except Exception as exc:  # the status line is sent: raised, it would reach the client as a cut connection only
            last = self._writer.failure(told(exc))
        self.ended = True
        yield last
