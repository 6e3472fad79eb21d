"""Bytes that do not parse are the caller's mistake, whatever the call."""

import grpc
import pytest

from support.server import TIMEOUT_S

GARBAGE = b"\x0a\xff"
UNARY = [
    "/tokenwire.v1.ChatService/CreateChatCompletion",
    "/tokenwire.v1.OperationsService/GetLoad",
    "/grpc.health.v1.Health/Check",
]
STREAMS = [
    "/tokenwire.v1.ChatService/StreamChatCompletion",
    "/tokenwire.v1.OperationsService/WatchLoad",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
]


@pytest.mark.parametrize("method", UNARY)
async def test_garbage_is_an_invalid_argument(channel: grpc.aio.Channel, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(method, bytes, bytes)(GARBAGE, timeout=TIMEOUT_S)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", STREAMS)
async def test_garbage_ends_a_stream_with_an_invalid_argument(channel: grpc.aio.Channel, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in channel.stream_stream(method, bytes, bytes)(iter([GARBAGE]), timeout=TIMEOUT_S):
            pass
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
