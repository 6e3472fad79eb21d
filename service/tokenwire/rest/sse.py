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
        response = EventSourceResponse(
            _body(writer, events),
            headers=headers,
            sep="\n",
            ping=keepalive_s,
            ping_message_factory=lambda: ServerSentEvent(comment="keepalive", sep="\n"),
        )
        async with aclosing(events):
            await response(scope, receive, send)

    return respond


async def _body(writer: ChunkWriter, events: AsyncIterator[ChatCompletionEvent]) -> AsyncGenerator[bytes, None]:
    """A failure is an event with the error object, and then there is no `[DONE]`."""
    try:
        for chunk in writer.opening():
            yield _data(chunk)
        async for event in events:
            for chunk in writer.chunks(event):
                yield _data(chunk)
        yield _DONE
    except Exception as exc:  # the status line is sent: an exception would reach the client as a cut connection only
        yield _data(error_json(told(exc)))


def _data(value: Mapping[str, object]) -> bytes:
    # ASCII only: some readers of server-sent events also split lines at U+2028 and U+0085.
    return b"data: " + json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n\n"
