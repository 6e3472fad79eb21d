"""What the server does with bad bytes, large messages, taken ports and a model that is not there yet."""

from typing import TypeAlias

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from support.fake_engine import FakeEngine
from support.server import TIMEOUT_S, ignore_progress
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig
from tokenwire.listen import ListenError, listen
from tokenwire.server import Server
from tokenwire.v1 import chat_pb2_grpc, models_pb2_grpc, tokens_pb2_grpc
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Message, Role
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest
from tokenwire.v1.tokens_pb2 import TokenizeRequest

RawCall: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]"
"""A call without a schema; the wire does not tell a unary answer from a stream of one."""


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """`ErrorInfo.reason`."""
    info = ErrorInfo()
    rpc_status.from_call(error).details[0].Unpack(info)
    return str(info.reason)


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_bytes_that_do_not_parse_are_malformed(channel: grpc.aio.Channel, method: str) -> None:
    send: RawCall = channel.unary_stream(f"/tokenwire.v1.ChatService/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(b"\xff\xff\xff", timeout=TIMEOUT_S).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "MALFORMED_MESSAGE"
    assert "3 bytes" in str(caught.value.details())


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    send: RawCall = channel.unary_stream("/tokenwire.v1.ChatService/Nothing")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(b"", timeout=TIMEOUT_S).read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_limit_is_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tokens_pb2_grpc.TokenServiceStub(channel).Tokenize(TokenizeRequest(text="a" * 65536), timeout=TIMEOUT_S)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "65536" in str(caught.value.details())


async def test_the_limit_is_published(channel: grpc.aio.Channel) -> None:
    model = await models_pb2_grpc.ModelServiceStub(channel).GetModel(GetModelRequest(model="tiny"), timeout=TIMEOUT_S)
    assert model.limits.max_request_bytes == 65536


async def test_every_bad_field_and_the_unknown_model_come_from_the_chat_service(channel: grpc.aio.Channel) -> None:
    stub = chat_pb2_grpc.ChatServiceStub(channel)
    request = ChatCompletionRequest(model="other", messages=[Message(role=Role.ROLE_USER, content="hi")])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateChatCompletion(request, timeout=TIMEOUT_S)
    assert reason_of(caught.value) == "MODEL_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateChatCompletion(ChatCompletionRequest(model="tiny", top_p=2, n=0), timeout=TIMEOUT_S)
    assert reason_of(caught.value) == "FIELD_INVALID"


async def test_a_taken_grpc_port_is_an_error_that_names_it(server: Server, engine: FakeEngine) -> None:
    config = ServeConfig(model=ModelOptions(model="tiny"), server=ServerConfig(port=server.port))
    second = Server(config, FakeEngine(info=engine.info))
    with pytest.raises(ListenError, match=f"127.0.0.1:{server.port}"):
        await second.start(ignore_progress)
    await second.stop()


async def test_a_taken_rest_port_is_an_error_that_names_it(engine: FakeEngine) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        config = ServeConfig(model=ModelOptions(model="tiny"), server=ServerConfig(port=0, http_port=port))
        server = Server(config, engine)
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            await server.start(ignore_progress)
        await server.stop()


async def test_rest_is_served_on_its_own_port(engine: FakeEngine) -> None:
    import httpx

    server = Server(ServeConfig(model=ModelOptions(model="tiny"), server=ServerConfig(port=0, http_port=0)), engine)
    try:
        await server.start(ignore_progress)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=TIMEOUT_S) as client:
            assert (await client.get("/health")).status_code == 200
    finally:
        await server.stop()


async def test_the_model_is_listed_under_its_name(channel: grpc.aio.Channel) -> None:
    answer = await models_pb2_grpc.ModelServiceStub(channel).ListModels(ListModelsRequest(), timeout=TIMEOUT_S)
    assert [model.id for model in answer.models] == ["tiny"]
