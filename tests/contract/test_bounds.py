"""Input within bounds: sizes, counts, nesting and time, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from support.fake_engine import FakeEngine, make_info
from support.server import TIMEOUT_S
from support.serving import PORTS, serving, until
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.chat.validation.limits import MAX_FIELDS, MAX_STOP_LENGTH, MAX_TOKEN_IDS
from tokenwire.chat.validation.sizes import MIN_TEXT_BYTES
from tokenwire.config import SecurityConfig, ServerConfig
from tokenwire.listen import listen
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer
from tokenwire.rpc.interceptor import ErrorInterceptor
from tokenwire.rpc.wire_size import SMALL_MESSAGE_BYTES
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ChoiceFormat, Message, ResponseFormat, Role
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from tokenwire.v1.models_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server
from tokenwire.v1.tokens_pb2 import DetokenizeRequest, TokenizeRequest
from tokenwire.v1.tokens_pb2_grpc import TokenServiceStub

RawCall: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]"
RawStream: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"
CREATE = "/tokenwire.v1.ChatService/CreateChatCompletion"
COUNT = "/tokenwire.v1.TokenService/CountTokens"
MAX_MESSAGE_BYTES = PORTS.max_message_bytes
MANY_BYTES = 4 * 1024 * 1024
"""Of values of two or three bytes each."""
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def served(engine: FakeEngine) -> AsyncIterator[Server]:
    """A server with the limits that it has by default."""
    async with serving(engine) as server:
        yield server


@pytest.fixture
async def to(served: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel over which messages of any size go."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=options) as channel:
        yield channel


@pytest.fixture
async def http(served: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.http_port}", timeout=TIMEOUT_S) as client:
        yield client


async def failure(channel: grpc.aio.Channel, method: str, data: bytes, **metadata: str) -> grpc.aio.AioRpcError:
    """What a call with these bytes gets."""
    send: RawCall = channel.unary_stream(method)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(data, metadata=tuple(metadata.items()), timeout=TIMEOUT_S).read()
    return caught.value


def fields_of(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields that it blames."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    for detail in rpc_status.from_call(error).details:
        if detail.Is(BadRequest.DESCRIPTOR):
            bad_request = BadRequest()
            detail.Unpack(bad_request)
            return [violation.field for violation in bad_request.field_violations]
    return []


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = ErrorInfo()
    rpc_status.from_call(error).details[0].Unpack(info)
    return str(info.reason)


def chat(**fields: object) -> ChatCompletionRequest:
    request = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="hi")])
    request.MergeFrom(ChatCompletionRequest(**fields))  # type: ignore[arg-type]
    return request


def nested(inner: bytes, *numbers: int) -> bytes:
    """Bytes of a message inside fields of these numbers, the outermost first."""
    for number in reversed(numbers):
        inner = varint(number << 3 | 2) + varint(len(inner)) + inner
    return inner


def varint(number: int) -> bytes:
    """A number on the wire."""
    return bytes([number & 0x7F | 0x80]) + varint(number >> 7) if number > 0x7F else bytes([number])


@pytest.mark.parametrize(
    "data",
    [
        b"\x12\x00" * (MANY_BYTES // 2),  # messages
        b"\x32\x00" * (MANY_BYTES // 2),  # stop
        b"\x5a\x00" * (MANY_BYTES // 2),  # logit_bias
        nested(b"\x0a\x00" * (MANY_BYTES // 2 - 8), 2, 3),  # parts of the content of one message
    ],
    ids=["messages", "strings", "map", "parts"],
)
async def test_a_message_of_many_fields_is_refused_before_it_is_parsed(to: grpc.aio.Channel, data: bytes) -> None:
    error = await failure(to, CREATE, data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "MALFORMED_MESSAGE"
    assert str(MAX_FIELDS) in str(error.details())


async def test_numbers_in_a_packed_field_are_counted(to: grpc.aio.Channel) -> None:
    error = await failure(to, "/tokenwire.v1.TokenService/Detokenize", nested(b"\x01" * MANY_BYTES, 2))
    assert reason_of(error) == "MALFORMED_MESSAGE"


@pytest.mark.parametrize("bad", [b"\xff" * 11, b"\x12\xff\xff\xff\x7f", b"\x12\x05\x1a\x7fabc", b"\x09abc"])
async def test_long_bytes_that_do_not_parse_are_malformed(to: grpc.aio.Channel, bad: bytes) -> None:
    good = ChatCompletionRequest(messages=[Message(content="a" * SMALL_MESSAGE_BYTES)]).SerializeToString()
    assert reason_of(await failure(to, CREATE, good + bad)) == "MALFORMED_MESSAGE"


async def test_fields_that_nobody_knows_harm_nothing(to: grpc.aio.Channel) -> None:
    request = chat(user="u").SerializeToString() + nested(b"x" * SMALL_MESSAGE_BYTES, 2000) * 2
    send: RawCall = to.unary_stream(COUNT)
    assert await send(request, timeout=TIMEOUT_S).read() is not grpc.aio.EOF


@pytest.mark.parametrize("method", [CREATE, COUNT])
async def test_text_that_no_context_holds_is_refused_before_it_is_tokenised(to: grpc.aio.Channel, method: str) -> None:
    request = chat(messages=[Message(role=Role.ROLE_USER, content="a" * (MAX_MESSAGE_BYTES - 1000))])
    error = await failure(to, method, request.SerializeToString())
    assert fields_of(error) == ["messages"]
    assert str(MIN_TEXT_BYTES) in str(error.details())


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat(stop=["a" * (MAX_STOP_LENGTH + 1)]), "stop[0]"),
        (
            chat(response_format=ResponseFormat(choice=ChoiceFormat(options=["a" * 200_000, "b" * 200_000]))),
            "response_format.choice.options",
        ),
    ],
    ids=["stop", "choice"],
)
async def test_long_fields_are_named(to: grpc.aio.Channel, request_: ChatCompletionRequest, field: str) -> None:
    assert fields_of(await failure(to, CREATE, request_.SerializeToString())) == [field]


async def test_long_texts_and_many_tokens_are_refused_by_name(to: grpc.aio.Channel) -> None:
    stub = TokenServiceStub(to)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Tokenize(TokenizeRequest(model="tiny", text="a" * (MIN_TEXT_BYTES + 1)), timeout=TIMEOUT_S)
    assert fields_of(caught.value) == ["text"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Detokenize(DetokenizeRequest(model="tiny", token_ids=[300] * (MAX_TOKEN_IDS + 1)), timeout=TIMEOUT_S)
    assert fields_of(caught.value) == ["token_ids"]


async def test_large_metadata_are_refused(to: grpc.aio.Channel) -> None:
    error = await failure(to, CREATE, b"", **{"x-large": "a" * 20_000})
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class NoModels(ModelServiceServicer):
    """Is never asked."""

    async def ListModels(self, request: ListModelsRequest, context: Any) -> ListModelsResponse:  # noqa: N802
        raise AssertionError

    async def GetModel(self, request: GetModelRequest, context: Any) -> Model:  # noqa: N802
        raise AssertionError


async def test_a_request_that_does_not_arrive_is_given_up() -> None:
    server = grpc.aio.server(interceptors=[ErrorInterceptor(receive_timeout_s=0.1)])
    add_ModelServiceServicer_to_server(NoModels(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            send: RawStream = channel.stream_stream("/tokenwire.v1.ModelService/GetModel")
            with pytest.raises(grpc.aio.AioRpcError, match=r"0\.1 s") as caught:
                await send(timeout=TIMEOUT_S).read()
    finally:
        await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"0," * (MANY_BYTES // 2 - 2) + b"0]",
        b'{"messages":[' + b"{}," * (MANY_BYTES // 3 - 10) + b"{}]}",
        b'{"messages":[' + b'"",' * (MANY_BYTES // 3 - 10) + b'""]}',
        b'"' * MANY_BYTES + b"," * MAX_FIELDS + b"[",
    ],
    ids=["numbers", "objects", "strings", "quotes"],
)
async def test_a_body_of_many_values_is_refused_before_it_is_parsed(http: httpx.AsyncClient, body: bytes) -> None:
    answered = await http.post("/v1/chat/completions", content=body)
    assert answered.status_code == 400
    assert str(MAX_FIELDS) in answered.json()["error"]["message"]


async def test_commas_and_brackets_in_a_text_are_not_values(http: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": '[,"\\' * MAX_FIELDS}]}
    answered = await http.post("/v1/chat/completions", json=body)
    assert answered.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_a_deep_body_is_refused(http: httpx.AsyncClient, opening: bytes) -> None:
    answered = await http.post("/v1/chat/completions", content=opening * 50_000)
    assert answered.status_code == 400


async def test_an_error_quotes_little_of_what_was_sent(http: httpx.AsyncClient) -> None:
    body = {"model": "m" * 1_000_000, "messages": [{"role": "user", "content": "hi"}]}
    answered = await http.post("/v1/chat/completions", json=body)
    assert answered.status_code == 404
    assert len(answered.content) < 10_000


async def test_more_connections_than_allowed_are_closed(engine: FakeEngine) -> None:
    limits = ServerConfig(port=0, http_port=0, max_connections=2)
    async with serving(engine, SecurityConfig(), limits=limits) as server:
        for port in (server.http_port, server.port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            await until(lambda port=port: is_closed(port))  # type: ignore[misc]
            for _, writer in held:
                writer.close()


async def is_closed(port: int) -> bool:
    """Whether the server closes a new connection without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(0.5):
            return not await reader.read(1)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    finally:
        writer.close()


@pytest.fixture
async def hasty(engine: FakeEngine, tiny_folder: Path) -> AsyncIterator[int]:
    """The port of a REST server that waits 0.2 s for what has to come."""
    service = ChatService(engine, max_queue=4, max_request_bytes=65536)
    service.open(ServedModel.load("tiny", make_info(tiny_folder)))
    listener = listen("127.0.0.1", 0)
    app = create_app(service, max_body_bytes=65536, body_timeout_s=0.2)
    server = RestServer(app, listener, head_timeout_s=0.2)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        await server.stop()


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
async def test_a_head_that_does_not_arrive_ends_its_connection(hasty: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(sent)
    async with asyncio.timeout(TIMEOUT_S):
        assert await reader.read() == b""
    writer.close()


async def test_a_second_head_that_does_not_arrive_ends_its_connection(hasty: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(TIMEOUT_S):
        assert b"200" in await reader.readline()
        writer.write(b"GET /health HTTP/1.1\r\n")
        assert b'{"status":"ok"}' in await reader.read()
    writer.close()


async def test_a_body_that_comes_in_drops_is_given_up(hasty: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(HEAD + b"content-length: 1000\r\n\r\n{")
    async with asyncio.timeout(TIMEOUT_S):
        answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    writer.close()


async def test_a_quiet_stream_outlives_the_time_for_a_head(hasty: int, engine: FakeEngine) -> None:
    may_end = asyncio.Event()
    script = engine.script
    assert callable(script)
    engine.script = lambda request: [may_end, *script(request)]
    asyncio.get_running_loop().call_later(1.0, may_end.set)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{hasty}", timeout=TIMEOUT_S) as http:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200
