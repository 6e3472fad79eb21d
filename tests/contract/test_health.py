"""Health over gRPC: loading, serving and draining, by service name, and the name `live`."""

import asyncio

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from support.fake_engine import FakeEngine
from support.server import TIMEOUT_S, ignore_progress
from support.slow_engine import SlowEngine
from tokenwire.config import ServeConfig
from tokenwire.rpc.health import LIVE, SERVICES
from tokenwire.server import Server
from tokenwire.v1 import chat_pb2, models_pb2, operations_pb2, tokens_pb2
from tokenwire.v1.tokens_pb2 import TokenizeRequest
from tokenwire.v1.tokens_pb2_grpc import TokenServiceStub

READINESS = ("", *SERVICES)
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def statuses(channel: grpc.aio.Channel) -> set[int]:
    """Statuses of all names that mean readiness."""
    stub = HealthStub(channel)
    answers = [await stub.Check(HealthCheckRequest(service=name), timeout=TIMEOUT_S) for name in READINESS]
    return {answer.status for answer in answers}


async def is_live(channel: grpc.aio.Channel) -> bool:
    answer = await HealthStub(channel).Check(HealthCheckRequest(service=LIVE), timeout=TIMEOUT_S)
    return bool(answer.status == SERVING)


def test_every_service_of_the_contract_has_a_health_name() -> None:
    files = (chat_pb2.DESCRIPTOR, models_pb2.DESCRIPTOR, operations_pb2.DESCRIPTOR, tokens_pb2.DESCRIPTOR)
    assert set(SERVICES) == {service.full_name for file in files for service in file.services_by_name.values()}


async def test_a_started_server_serves_every_name(channel: grpc.aio.Channel) -> None:
    assert await statuses(channel) == {SERVING}
    assert await is_live(channel)


async def test_a_draining_server_is_live_and_not_serving(server: Server, channel: grpc.aio.Channel) -> None:
    await server.drain()
    assert await statuses(channel) == {NOT_SERVING}
    assert await is_live(channel)


async def test_an_unknown_name_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await HealthStub(channel).Check(HealthCheckRequest(service="nobody"), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_sees_the_drain(server: Server, channel: grpc.aio.Channel) -> None:
    watch = HealthStub(channel).Watch(HealthCheckRequest(service=SERVICES[0]), timeout=TIMEOUT_S)
    assert (await watch.read()).status == SERVING
    await server.drain()
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_a_loading_server_is_live_and_not_serving(engine: FakeEngine, serve_config: ServeConfig) -> None:
    slow = SlowEngine(engine.script, info=engine.info)
    server = Server(serve_config, slow)
    starting = asyncio.create_task(server.start(ignore_progress))
    try:
        await asyncio.wait_for(slow.is_starting.wait(), TIMEOUT_S)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert await statuses(channel) == {NOT_SERVING}
            assert await is_live(channel)
            with pytest.raises(grpc.aio.AioRpcError, match="loading") as caught:
                await TokenServiceStub(channel).Tokenize(TokenizeRequest(model="tiny"), timeout=TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            slow.may_start.set()
            await asyncio.wait_for(starting, TIMEOUT_S)
            assert await statuses(channel) == {SERVING}
    finally:
        starting.cancel()
        await server.stop()
