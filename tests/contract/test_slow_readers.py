"""Readers that do not read: their streams end, what they hold is freed, and others do not notice."""

import asyncio
import json
import socket
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from dataclasses import replace

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from support.fake_engine import FakeEngine, answer, make_info
from support.server import TIMEOUT_S
from support.streams import fold
from tokenwire.config import ServeConfig, StreamConfig
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    ChatCompletionRequest,
    Message,
    OnDisconnect,
    ResumeChatCompletionRequest,
    Role,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

NUM_TOKENS = 600
N = 4
MAX_UNREAD_BYTES = 64 * 1024
# About 1 MB of log-probabilities: far more than sockets and windows hold.
REQUEST = ChatCompletionRequest(
    model="tiny", messages=[Message(role=Role.ROLE_USER, content="hi")], logprobs=True, top_logprobs=20, n=N, seed=1
)
NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))


@pytest.fixture
def engine(engine: FakeEngine) -> FakeEngine:
    """Gives long answers, as fast as they are taken."""
    assert engine.info is not None
    engine.info = make_info(engine.info.model_path, context_length=2 * NUM_TOKENS)
    engine.script = answer([300 + number % 50 for number in range(NUM_TOKENS)])
    return engine


@pytest.fixture
def serve_config(serve_config: ServeConfig) -> ServeConfig:
    """Has little patience, and REST."""
    streams = StreamConfig(max_unread="64KiB", max_write_s=3.0, heartbeat_s=0.3)
    return replace(serve_config, streams=streams, server=replace(serve_config.server, http_port=0))


@pytest.fixture
async def stalled(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel of a client with small windows."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=NARROW) as channel:
        yield channel


async def drain(events: AsyncIterable[ChatCompletionEvent]) -> list[ChatCompletionEvent]:
    """All that come."""
    async with asyncio.timeout(TIMEOUT_S):
        return [event async for event in events]


async def cause(events: AsyncIterator[ChatCompletionEvent]) -> ErrorInfo:
    """Why a stream was cut, once all that had come is read."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(events)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = ErrorInfo()
    rpc_status.from_call(caught.value).details[0].Unpack(info)
    return info


async def test_a_stalled_stream_ends_with_slow_consumer_and_frees_everything(
    server: Server, engine: FakeEngine, stalled: grpc.aio.Channel
) -> None:
    events = aiter(ChatServiceStub(stalled).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
    started = (await anext(events)).started
    await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
    assert len(engine.aborts) == 1
    assert server.service.load.retained_bytes == 0
    info = await cause(events)
    assert info.reason == "SLOW_CONSUMER"
    assert info.metadata["completion_id"] == started.id
    assert 0 < int(info.metadata["last_sequence"]) < N * NUM_TOKENS


async def test_a_detached_completion_is_resumed_after_its_reader_was_too_slow(
    server: Server, stalled: grpc.aio.Channel
) -> None:
    asked = ChatCompletionRequest()
    asked.CopyFrom(REQUEST)
    asked.execution_policy.on_disconnect = OnDisconnect.ON_DISCONNECT_DETACH
    stub = ChatServiceStub(stalled)
    stream = aiter(stub.StreamChatCompletion(asked, timeout=TIMEOUT_S))
    events = [await anext(stream)]
    await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
    events += [await anext(stream) for _ in range(50)]
    assert (await cause(stream)).reason == "SLOW_CONSUMER"
    rest = ResumeChatCompletionRequest(completion_id=events[0].started.id, after_sequence=events[-1].sequence)
    events += await drain(stub.ResumeChatCompletion(rest, timeout=TIMEOUT_S))
    uncut = await drain(stub.StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
    assert fold(events) == fold(uncut)
    assert fold(uncut).usage.completion_tokens == N * NUM_TOKENS


async def test_others_on_the_same_connection_go_on_beside_a_stalled_stream(
    server: Server, stalled: grpc.aio.Channel
) -> None:
    stub = ChatServiceStub(stalled)
    stalled_events = aiter(stub.StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
    await anext(stalled_events)
    short = ChatCompletionRequest(model="tiny", messages=REQUEST.messages, max_completion_tokens=100)
    while server.service.active:
        events = await drain(stub.StreamChatCompletion(short, timeout=TIMEOUT_S))
        assert fold(events).usage.completion_tokens == 100
    assert (await cause(stalled_events)).reason == "SLOW_CONSUMER"


async def test_what_a_stalled_reader_of_a_completion_holds_is_bounded(
    server: Server, stalled: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, server.service.load.retained_bytes)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    call = ChatServiceStub(stalled).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S)
    await call.read()
    await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
    watching.cancel()
    call.cancel()
    assert 0 < most < 20 * MAX_UNREAD_BYTES
    assert "defect" not in caplog.text


async def test_the_connection_of_a_stalled_event_stream_is_closed(server: Server, engine: FakeEngine) -> None:
    body = json.dumps(
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "logprobs": True,
            "top_logprobs": 20,
            "n": N,
        }
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.http_port))
        await loop.sock_sendall(client, (head + body).encode())
        assert b" 200 OK" in await asyncio.wait_for(loop.sock_recv(client, 1024), TIMEOUT_S)
        await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
        assert len(engine.aborts) == 1
        rest = b""
        with suppress(ConnectionResetError):
            async with asyncio.timeout(TIMEOUT_S):
                while piece := await loop.sock_recv(client, 65_536):
                    rest += piece
        assert b"[DONE]" not in rest
