"""Server-sent events: the stream of a completion as an HTTP answer."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

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
_KEEPALIVE = b": keepalive\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would hold events back
}


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
        raw_headers = [(name.encode(), value.encode()) for name, value in {**_HEADERS, **headers}.items()]
        async with aclosing(events):
            await send({"type": "http.response.start", "status": 200, "headers": raw_headers})
            with suppress(ClientDisconnect):
                await unless_disconnected(Request(scope, receive), _Body(send, keepalive_s).write(writer, events))

    return respond


class _Body:
    """What is sent: the pieces and the end, or after a failure the error instead."""

    def __init__(self, send: Send, keepalive_s: float) -> None:
        self._send = send
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        self._sent_s = self._loop.time()

    async def write(self, writer: StreamWriter[Event], events: EventStream[Event]) -> None:
        """All of it, with comments where it is quiet."""
        comments = asyncio.create_task(self._comment())
        try:
            last = await self._write_events(writer, events)
        finally:  # behind the last piece there is nothing, not even a comment
            comments.cancel()
            await asyncio.wait([comments])
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _write_events(self, writer: StreamWriter[Event], events: EventStream[Event]) -> bytes:
        """All but the last piece, which is given back."""
        try:
            await self._put(b"".join(writer.opening()))
            async for event in events:
                await self._put(b"".join(writer.pieces(event)))
            return writer.closing()
        except Exception as exc:  # the status line is sent: raised, it would reach the client as a cut connection only
            return writer.failure(told(exc))

    async def _put(self, body: bytes) -> None:
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            self._sent_s = self._loop.time()

    async def _comment(self) -> None:
        while True:
            quiet_s = self._loop.time() - self._sent_s
            if quiet_s >= self._keepalive_s:
                await self._put(_KEEPALIVE)
            else:
                await asyncio.sleep(self._keepalive_s - quiet_s)
