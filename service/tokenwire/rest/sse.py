"""Server-sent events: the stream of a completion as an HTTP answer."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenwire.rest.chunks import ChunkWriter
from tokenwire.rest.errors import error_json, told
from tokenwire.v1.chat_pb2 import ChatCompletionEvent

_DONE = b"data: [DONE]\n\n"


def stream_response(
    writer: ChunkWriter,
    events: AsyncGenerator[ChatCompletionEvent, None],
    *,
    headers: Mapping[str, str],
    keepalive_s: float,
) -> ASGIApp:
    """Answer with the chunks of `events`, from which `started` has been taken already. Whatever ends the answer, a
    client that goes away among it, closes `events`. A quiet stream carries a comment each `keepalive_s` seconds."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(writer, events)
        response = EventSourceResponse(
            body.pieces(), headers=headers, ping=keepalive_s, ping_message_factory=body.keepalive
        )
        async with aclosing(events):
            await response(scope, receive, send)

    return respond


class _Body:
    """What is sent: the chunks and `[DONE]`, or after a failure the error object instead; then nothing, not even a
    comment."""

    def __init__(self, writer: ChunkWriter, events: AsyncIterator[ChatCompletionEvent]) -> None:
        self._writer = writer
        self._events = events
        self._ended = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for chunk in self._writer.opening():
                yield _data(chunk)
            async for event in self._events:
                for chunk in self._writer.chunks(event):
                    yield _data(chunk)
            last = _DONE
        except Exception as exc:  # the status line is sent: raised, it would reach the client as a cut connection only
            last = _data(error_json(told(exc)))
        self._ended = True
        yield last

    def keepalive(self) -> ServerSentEvent:
        """A comment; no byte once the last piece is on its way."""
        return ServerSentEvent(sep="") if self._ended else ServerSentEvent(comment="keepalive", sep="\n")


def _data(value: Mapping[str, object]) -> bytes:
    # ASCII only: some readers of server-sent events also split lines at U+2028 and U+0085.
    return b"data: " + json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n\n"
