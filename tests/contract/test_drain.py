"""The end of a server: a signal, the grace time, an engine that is given up, and calls that are cancelled."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from support.fake_engine import FakeEngine, output
from support.server import TIMEOUT_S, ignore_progress
from support.slow_engine import SlowEngine
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ServiceState
from tokenwire.config import ServeConfig
from tokenwire.engine.protocol import EngineState, FinishReason
from tokenwire.run import run
from tokenwire.server import Server
from tokenwire.stream import StreamChecker
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest, Message, OnDisconnect, Role
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

REQUEST = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="hi")])


class Running:
    """`run()` as a task of this process, and a channel to its server."""

    def __init__(self, server: Server) -> None:
        self._ready = asyncio.Event()
        self._server = server
        self.exit_code = asyncio.create_task(run(server, on_progress=ignore_progress, on_ready=self._set_ready))

    def _set_ready(self, model: ServedModel) -> None:
        self._ready.set()

    async def connect(self) -> grpc.aio.Channel:
        await asyncio.wait_for(self._ready.wait(), TIMEOUT_S)
        return grpc.aio.insecure_channel(f"127.0.0.1:{self._server.port}")


@pytest.fixture
def gate(engine: FakeEngine) -> asyncio.Event:
    """The engine gives one token, then waits for this event before the last one."""
    gate = asyncio.Event()
    engine.script = [[output(300)], gate, [output(301, finish=FinishReason.LENGTH)]]
    return gate


@pytest.fixture
async def running(engine: FakeEngine, serve_config: ServeConfig) -> AsyncIterator[Running]:
    running = Running(Server(serve_config, engine))
    yield running
    running.exit_code.cancel()
    await asyncio.wait([running.exit_code], timeout=TIMEOUT_S)


async def reason_of_a_new_request(channel: grpc.aio.Channel) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ChatServiceStub(channel).CreateChatCompletion(REQUEST, timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return reason(caught.value)


def reason(error: grpc.aio.AioRpcError) -> str:
    info = ErrorInfo()
    rpc_status.from_call(error).details[0].Unpack(info)
    return str(info.reason)


async def test_at_sigterm_open_streams_finish_and_new_requests_are_refused(
    running: Running, gate: asyncio.Event
) -> None:
    async with await running.connect() as channel:
        stream = aiter(ChatServiceStub(channel).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
        checker = StreamChecker()
        checker.check(await anext(stream))
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=TIMEOUT_S)
        assert (await watch.read()).status == HealthCheckResponse.SERVING
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
        assert await reason_of_a_new_request(channel) == "DRAINING"
        gate.set()
        async for event in stream:
            checker.check(event)
        checker.end()
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0


async def test_after_the_grace_time_streams_are_cut_and_freed(
    engine: FakeEngine, serve_config: ServeConfig, gate: asyncio.Event
) -> None:
    config = replace(serve_config, server=replace(serve_config.server, drain_grace_s=0))
    running = Running(Server(config, engine))
    async with await running.connect() as channel:
        stream = aiter(ChatServiceStub(channel).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
        await anext(stream)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_end(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(caught.value) == "DRAINING"
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0
    assert len(engine.aborts) == 1


async def test_a_drain_tells_open_streams_when_they_are_cut(running: Running, gate: asyncio.Event) -> None:
    async with await running.connect() as channel:
        stream = aiter(ChatServiceStub(channel).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
        checker = StreamChecker()
        for _ in range(2):
            checker.check(await anext(stream))
        os.kill(os.getpid(), signal.SIGTERM)
        told = await anext(stream)
        checker.check(told)
        assert 0 < told.heartbeat.drain_in.ToSeconds() <= TIMEOUT_S
        gate.set()
        await read_to_end(stream)
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0


@pytest.mark.parametrize("grace_s", [0, TIMEOUT_S])
async def test_a_drain_waits_for_detached_completions_as_long_as_the_grace_time_lasts(
    engine: FakeEngine, serve_config: ServeConfig, gate: asyncio.Event, grace_s: int
) -> None:
    config = replace(serve_config, server=replace(serve_config.server, drain_grace_s=grace_s))
    server = Server(config, engine)
    running = Running(server)
    asked = ChatCompletionRequest()
    asked.CopyFrom(REQUEST)
    asked.execution_policy.on_disconnect = OnDisconnect.ON_DISCONNECT_DETACH
    async with await running.connect() as channel:
        call = ChatServiceStub(channel).StreamChatCompletion(asked, timeout=TIMEOUT_S)
        await call.read()
        call.cancel()
        watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=TIMEOUT_S)
        await watch.read()
        os.kill(os.getpid(), signal.SIGTERM)
        await watch.read()
        if grace_s:
            assert (server.service.active, running.exit_code.done()) == (1, False)
            gate.set()
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0
    assert server.service.active == 0
    assert gate.is_set() == bool(grace_s)


async def test_without_a_grace_time_and_without_streams_nothing_is_said_to_be_cut_off(
    engine: FakeEngine, serve_config: ServeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(serve_config, server=replace(serve_config.server, drain_grace_s=0))
    running = Running(Server(config, engine))
    await (await running.connect()).close()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0
    assert "cut off" not in caplog.text


async def read_to_end(stream: AsyncIterator[ChatCompletionEvent]) -> None:
    async for _ in stream:
        pass


async def test_an_engine_that_is_given_up_fails_streams_and_takes_readiness_away_until_it_is_back(
    engine: FakeEngine, server: Server, channel: grpc.aio.Channel, gate: asyncio.Event
) -> None:
    stream = aiter(ChatServiceStub(channel).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S))
    await anext(stream)
    watch = HealthStub(channel).Watch(HealthCheckRequest(), timeout=TIMEOUT_S)
    assert (await watch.read()).status == HealthCheckResponse.SERVING
    engine.die()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_to_end(stream)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING
    live = await HealthStub(channel).Check(HealthCheckRequest(service="live"), timeout=TIMEOUT_S)
    assert live.status == HealthCheckResponse.SERVING
    engine.set_state(EngineState.RUNNING)
    assert (await watch.read()).status == HealthCheckResponse.SERVING


async def test_a_server_whose_engine_recovers_stays_ready(
    engine: FakeEngine, server: Server, channel: grpc.aio.Channel
) -> None:
    engine.set_state(EngineState.RECOVERING)
    assert server.service.state is ServiceState.RECOVERING
    ready = await HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
    assert ready.status == HealthCheckResponse.SERVING


async def test_a_signal_while_loading_ends_the_server(serve_config: ServeConfig) -> None:
    slow = SlowEngine()
    running = Running(Server(serve_config, slow))
    await asyncio.wait_for(slow.is_starting.wait(), TIMEOUT_S)
    os.kill(os.getpid(), signal.SIGINT)
    assert await asyncio.wait_for(running.exit_code, TIMEOUT_S) == 0


async def test_a_cancelled_call_is_freed_at_once(
    engine: FakeEngine, server: Server, channel: grpc.aio.Channel, gate: asyncio.Event
) -> None:
    call = ChatServiceStub(channel).StreamChatCompletion(REQUEST, timeout=TIMEOUT_S)
    await call.read()
    assert server.service.active == 1
    call.cancel()
    await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
    assert len(engine.aborts) == 1


async def test_a_unary_call_past_its_deadline_is_freed(
    engine: FakeEngine, server: Server, channel: grpc.aio.Channel, gate: asyncio.Event
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ChatServiceStub(channel).CreateChatCompletion(REQUEST, timeout=0.5)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
    assert len(engine.aborts) == 1
