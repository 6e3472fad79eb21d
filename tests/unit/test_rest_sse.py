"""The order of what a stream sends, at the seam to the HTTP server."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import Message

from tokenwire.rest.chat.chunks import ChunkWriter
from tokenwire.rest.sse import ChunkStream, stream_response
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, Completed, EffectiveParameters, ServiceTier, Started

STARTED = Started(parameters=EffectiveParameters(n=1), service_tier=ServiceTier.SERVICE_TIER_DEFAULT)
TIMEOUT_S = 20


async def quiet_events(num_turns: int) -> AsyncGenerator[ChatCompletionEvent, None]:
    """The end of a stream, after some turns of the event loop."""
    for _ in range(num_turns):
        await asyncio.sleep(0)
    yield ChatCompletionEvent(completed=Completed())


async def sent_by(num_turns: int) -> list[bytes]:
    """The pieces of the body of a stream that has a comment each time it can."""
    pieces: list[bytes] = []

    async def send(message: Message) -> None:
        if message.get("body"):
            pieces.append(message["body"])

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("the client stays")

    events = quiet_events(num_turns)
    writer = ChunkStream(ChunkWriter(STARTED, include_usage=False))
    respond = stream_response(writer, events, headers={}, keepalive_s=1e-6)
    await asyncio.wait_for(respond({"type": "http", "method": "POST"}, receive, send), TIMEOUT_S)
    return pieces


async def test_no_comment_follows_the_end() -> None:
    streams = [await sent_by(num_turns) for num_turns in range(60)]
    assert {pieces[-1] for pieces in streams} == {b"data: [DONE]\n\n"}
    assert any(b": keepalive\n\n" in pieces for pieces in streams)
