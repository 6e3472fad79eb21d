"""API keys over both transports: who gets in, what a key allows, and files that change."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
import httpx
import pytest
from google.protobuf.message import Message as ProtoMessage
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure, RetryInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from support.fake_engine import FakeEngine, output
from support.server import TIMEOUT_S
from support.serving import serving, until
from tokenwire.config import LogConfig, SecurityConfig
from tokenwire.engine.protocol import FinishReason
from tokenwire.security.key_file import add_key
from tokenwire.security.security import Security
from tokenwire.server import Server
from tokenwire.v1 import chat_pb2, models_pb2, operations_pb2, tokens_pb2
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Message, Role
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest
from tokenwire.v1.models_pb2_grpc import ModelServiceStub
from tokenwire.v1.tokens_pb2 import TokenizeRequest
from tokenwire.v1.tokens_pb2_grpc import TokenServiceStub

REQUEST = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="hi")])
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
FILES = (chat_pb2, models_pb2, tokens_pb2, operations_pb2)
METHODS = [
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

RawCall: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[bytes, bytes]"
"""A call without a schema; the wire does not tell a unary answer from a stream of one."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A server with keys, and the two ways to it."""

    server: Server
    file: Path
    channel: grpc.aio.Channel
    http: httpx.AsyncClient


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The key file, without keys."""
    file = tmp_path / "keys.yaml"
    file.touch()
    return file


@asynccontextmanager
async def secured(engine: FakeEngine, file: Path) -> AsyncIterator[Secured]:
    async with (
        serving(engine, SecurityConfig(api_keys=file)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=TIMEOUT_S) as http,
    ):
        yield Secured(server, file, channel, http)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def create(to: Secured, key: str) -> chat_pb2.ChatCompletion:
    return await ChatServiceStub(to.channel).CreateChatCompletion(
        REQUEST, metadata=tuple(bearer(key).items()), timeout=TIMEOUT_S
    )


def read(file: Path) -> str:
    return file.read_text()


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def is_asked(engine: FakeEngine) -> bool:
    return len(engine.requests) > 0


async def is_known(to: Secured, key: str) -> bool:
    answered = await to.http.get("/v1/models", headers=bearer(key))
    return answered.status_code == 200


async def is_unknown(to: Secured, key: str) -> bool:
    return not await is_known(to, key)


def detail(error: grpc.aio.AioRpcError, kind: type[ProtoMessage]) -> ProtoMessage:
    """The one detail of a kind."""
    (packed,) = [packed for packed in rpc_status.from_call(error).details if packed.Is(kind.DESCRIPTOR)]
    message = kind()
    packed.Unpack(message)
    return message


def reason_of(error: grpc.aio.AioRpcError) -> str:
    info = detail(error, ErrorInfo)
    assert isinstance(info, ErrorInfo)
    return str(info.reason)


async def test_every_rpc_of_ours_needs_a_key(engine: FakeEngine, keys: Path) -> None:
    add_key(keys, "alice", {})
    async with secured(engine, keys) as to:
        for method in METHODS:
            for metadata in ((), tuple(bearer("tw-wrong").items())):
                send: RawCall = to.channel.unary_stream(method)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await send(b"\xff", metadata=metadata, timeout=TIMEOUT_S).read()
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, method
                assert reason_of(caught.value) == "BAD_API_KEY"
    assert engine.requests == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/tiny"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
        ("GET", "/metrics"),
        ("GET", "/v1/nothing"),
        ("GET", "/health/"),
    ],
)
async def test_every_route_needs_a_key(engine: FakeEngine, keys: Path, method: str, path: str) -> None:
    async with secured(engine, keys) as to:
        for headers in ({}, bearer("tw-wrong")):
            answered = await to.http.request(method, path, headers=headers)
            error = answered.json()["error"]
            assert (answered.status_code, error["code"], error["type"], error["param"]) == (
                401,
                "invalid_api_key",
                "invalid_request_error",
                None,
            )
            assert answered.headers["www-authenticate"] == "Bearer"
            assert answered.headers["x-request-id"]


async def test_health_needs_no_key(engine: FakeEngine, keys: Path) -> None:
    async with secured(engine, keys) as to:
        answer = await HealthStub(to.channel).Check(HealthCheckRequest(), timeout=TIMEOUT_S)
        assert answer.status == HealthCheckResponse.SERVING
        assert (await to.http.get("/health")).status_code == 200


async def test_who_has_a_key_gets_an_answer_over_both_transports(engine: FakeEngine, keys: Path) -> None:
    key = add_key(keys, "alice", {})
    async with secured(engine, keys) as to:
        assert (await create(to, key)).choices
        assert (await to.http.post("/v1/chat/completions", json=BODY, headers=bearer(key))).status_code == 200


async def test_a_stranger_is_refused_before_it_has_sent_its_request(engine: FakeEngine, keys: Path) -> None:
    async with secured(engine, keys) as to:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = to.channel.stream_stream(METHODS[0])(timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_is_added_changed_and_taken_away_while_the_server_runs(engine: FakeEngine, keys: Path) -> None:
    async with secured(engine, keys) as to:
        key = add_key(keys, "alice", {})
        await until(lambda: is_known(to, key))
        write(keys, f"{read(keys)}  disabled: true\n")
        await until(lambda: is_unknown(to, key))


async def test_a_bad_file_changes_nothing_and_is_logged(
    engine: FakeEngine, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(keys, "alice", {})
    async with secured(engine, keys) as to:
        write(keys, "- name: [")

        async def is_logged() -> bool:
            return any("cannot be used" in record.message for record in caplog.records if record.levelname == "ERROR")

        await until(is_logged)
        assert await is_known(to, key)


async def test_a_running_answer_outlives_its_key(engine: FakeEngine, keys: Path) -> None:
    may_end = asyncio.Event()
    engine.script = [may_end, [output(300, finish=FinishReason.STOP)]]
    key = add_key(keys, "alice", {})
    async with secured(engine, keys) as to:
        answer = asyncio.ensure_future(create(to, key))
        await until(lambda: is_asked(engine))
        write(keys, "")
        await until(lambda: is_unknown(to, key))
        may_end.set()
        assert (await answer).choices


async def test_a_model_that_the_key_does_not_allow_is_forbidden_and_not_listed(engine: FakeEngine, keys: Path) -> None:
    metadata = tuple(bearer(add_key(keys, "alice", {"models": ["other"]})).items())
    async with secured(engine, keys) as to:
        models = ModelServiceStub(to.channel)
        listed = await models.ListModels(ListModelsRequest(), metadata=metadata, timeout=TIMEOUT_S)
        assert list(listed.models) == []
        for call in (
            ChatServiceStub(to.channel).CreateChatCompletion(REQUEST, metadata=metadata, timeout=TIMEOUT_S),
            models.GetModel(GetModelRequest(model="tiny"), metadata=metadata, timeout=TIMEOUT_S),
            TokenServiceStub(to.channel).CountTokens(REQUEST, metadata=metadata, timeout=TIMEOUT_S),
            TokenServiceStub(to.channel).Tokenize(
                TokenizeRequest(model="tiny", text="a"), metadata=metadata, timeout=TIMEOUT_S
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert reason_of(caught.value) == "MODEL_FORBIDDEN"
        refused = await to.http.post("/v1/chat/completions", json=BODY, headers=dict(metadata))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_forbidden")


async def test_over_its_rate_a_key_is_told_which_limit_and_when_to_come_back(engine: FakeEngine, keys: Path) -> None:
    key = add_key(keys, "alice", {"requests_per_minute": 1})
    other = add_key(keys, "bob", {"requests_per_minute": 1})
    async with secured(engine, keys) as to:
        await create(to, key)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(to, key)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of(caught.value) == "RATE_LIMITED"
        quota, retry = detail(caught.value, QuotaFailure), detail(caught.value, RetryInfo)
        assert isinstance(quota, QuotaFailure)
        assert isinstance(retry, RetryInfo)
        assert [violation.subject for violation in quota.violations] == ["key:alice/requests_per_minute"]
        assert 0 < retry.retry_delay.ToSeconds() <= 60
        refused = await to.http.post("/v1/chat/completions", json=BODY, headers=bearer(key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert (await create(to, other)).choices


async def test_prompt_and_answer_are_charged(engine: FakeEngine, keys: Path) -> None:
    key = add_key(keys, "alice", {"tokens_per_minute": 1})
    async with secured(engine, keys) as to:
        used = (await create(to, key)).usage.total_tokens
        with pytest.raises(grpc.aio.AioRpcError, match="tokens_per_minute") as caught:
            await create(to, key)
    retry = detail(caught.value, RetryInfo)
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.ToSeconds() == pytest.approx(60 * used, rel=0.2)


async def test_completions_at_once_are_bounded_and_a_cancelled_one_makes_room(engine: FakeEngine, keys: Path) -> None:
    engine.script = [asyncio.Event()]  # never set
    metadata = tuple(bearer(add_key(keys, "alice", {"max_concurrent": 1})).items())
    async with secured(engine, keys) as to:
        stub = ChatServiceStub(to.channel)
        first = stub.StreamChatCompletion(REQUEST, metadata=metadata, timeout=TIMEOUT_S)
        await first.read()
        second = stub.StreamChatCompletion(REQUEST, metadata=metadata, timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError, match="max_concurrent"):
            await second.read()
        first.cancel()

        async def has_room() -> bool:
            call = stub.StreamChatCompletion(REQUEST, metadata=metadata, timeout=TIMEOUT_S)
            try:
                return await call.read() is not grpc.aio.EOF
            except grpc.aio.AioRpcError:
                return False
            finally:
                call.cancel()

        await until(has_room)


async def test_completions_belong_to_the_key_that_asked_for_them(engine: FakeEngine, keys: Path) -> None:
    alice, bob = add_key(keys, "alice", {}), add_key(keys, "bob", {})
    async with secured(engine, keys) as to:
        asked = await to.http.post("/v1/chat/completions", json={**BODY, "store": True}, headers=bearer(alice))
        path = f"/v1/chat/completions/{asked.json()['id']}"
        assert (await to.http.get(path, headers=bearer(alice))).status_code == 200
        assert (await to.http.get(path, headers=bearer(bob))).status_code == 404


async def test_neither_keys_nor_prompts_are_logged(
    engine: FakeEngine, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(keys, "alice", {})
    request = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="xyzzy-prompt")])
    with caplog.at_level(logging.DEBUG):
        async with secured(engine, keys) as to:
            metadata = tuple(bearer(key).items())
            await ChatServiceStub(to.channel).CreateChatCompletion(request, metadata=metadata, timeout=TIMEOUT_S)
            await to.http.post("/v1/chat/completions", json=BODY, headers=bearer("tw-nobodys"))
            body = {**BODY, "messages": [{"role": "user", "content": "xyzzy-prompt"}], "stream": True}
            streamed = await to.http.post("/v1/chat/completions", json=body, headers=bearer(key))
            content = json.loads(streamed.text.split("data: ")[2])["choices"][0]["delta"]["content"]
            bad = ChatCompletionRequest(model="tiny", top_p=7, messages=request.messages)
            with pytest.raises(grpc.aio.AioRpcError):
                await ChatServiceStub(to.channel).CreateChatCompletion(bad, metadata=metadata, timeout=TIMEOUT_S)
    clients = ("httpx", "httpcore", "asyncio")
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith(clients))
    assert "chatcmpl-" in ours
    assert all(secret not in ours for secret in (key, "tw-nobodys", "xyzzy-prompt", content))


async def test_prompts_and_answers_are_logged_where_the_operator_asks(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with (
            serving(engine, log=LogConfig(log_prompts=True)) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            request = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="plugh")])
            answer = await ChatServiceStub(channel).CreateChatCompletion(request, timeout=TIMEOUT_S)
    assert "plugh" in caplog.text
    assert repr(answer.choices[0].content) in caplog.text


async def test_the_request_id_comes_back_in_the_trailers(engine: FakeEngine, keys: Path) -> None:
    key = add_key(keys, "alice", {})
    async with secured(engine, keys) as to:
        stub = ChatServiceStub(to.channel)
        for given, metadata in (("mine-1", bearer(key)), ("mine-2", {})):
            call = stub.CreateChatCompletion(
                REQUEST, metadata=(("x-request-id", given), *metadata.items()), timeout=TIMEOUT_S
            )
            await call.code()
            assert dict(await call.trailing_metadata())["x-request-id"] == given
            assert "x-request-id" not in dict(await call.initial_metadata())
        call = stub.CreateChatCompletion(REQUEST, metadata=(("x-request-id", "not sane"),), timeout=TIMEOUT_S)
        assert str(dict(await call.trailing_metadata())["x-request-id"]).startswith("req_")


async def test_a_server_that_a_network_reaches_without_keys_warns(caplog: pytest.LogCaptureFixture) -> None:
    for host, is_warned in (("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)):
        caplog.clear()
        security = Security(SecurityConfig())
        security.warn(host=host)
        assert ("anybody" in caplog.text) is is_warned
