"""Server-sent events: the stream of a completion as an HTTP answer."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenwire.rest.chunks import ChunkWriter
from tokenwire.rest.errors import error_json, told
from tokenwire.v1.chat_pb2 import ChatCompletionEvent

_DONE = b"data: [DONE]\n\n"
# Made once, not for every chunk. ASCII only: some readers of server-sent events also split lines at U+2028 and U+0085.
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_KEEPALIVE = ServerSentEvent(comment="keepalive", sep="\n")


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


class _Body:
    """What is sent: the chunks and `[DONE]`, or after a failure the error object instead."""

    def __init__(self, writer: ChunkWriter, events: AsyncIterator[ChatCompletionEvent]) -> None:
        self._writer = writer
        self._events = events
        self.ended = False
        """The last piece is on its way: after it there is nothing, not even a comment."""

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
        self.ended = True
        yield last


def _data(value: Mapping[str, object]) -> bytes:
    return f"data: {_to_json(value)}\n\n".encode("ascii")
