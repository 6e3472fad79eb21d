"""The gateway before real servers. That it answers as the REST layer in the server does show the tests of REST, which
run over both."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from support.fake_engine import FakeEngine, answer, make_info, output
from support.rest_api import error_of
from support.serve_process import TOKENWIRE
from support.server import TIMEOUT_S
from support.serving import serving, until
from tokenwire.config import GatewayConfig, SecurityConfig
from tokenwire.engine.protocol import FinishReason
from tokenwire.gateway.gateway import Gateway, create_gateway_app
from tokenwire.gateway.status import error_of as error_of_status
from tokenwire.listen import listen
from tokenwire.rest.errors import error_response
from tokenwire.rest.server import RestServer
from tokenwire.rpc.status import DETAILS_KEY
from tokenwire.security.key_file import add_key
from tokenwire.security.watched_files import SecurityFileError

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"


@asynccontextmanager
async def gateway(
    config: GatewayConfig, *, scheme: str = "http", verify: "trustme.CA | None" = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A running gateway, and a client of it."""
    server = Gateway(config)
    try:
        await server.start()
        context = httpx.create_ssl_context(verify=False)
        if verify is not None:
            context = httpx.create_ssl_context()
            verify.configure_trust(context)
        url = f"{scheme}://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=context) as client:
            yield client
    finally:
        await server.stop()


def before(port: int, **options: object) -> GatewayConfig:
    """The options of a gateway before the server on this port."""
    return GatewayConfig(target=f"127.0.0.1:{port}", http_port=0, **options)  # type: ignore[arg-type]


async def test_health_is_that_of_the_service(engine: FakeEngine) -> None:
    async with serving(engine) as server, gateway(before(server.port)) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        await server.drain()
        refused = await http.get("/health")
        assert (refused.status_code, refused.json()) == (503, {"status": "not serving"})
        error = await http.post(PATH, json=CHAT)
        assert (error.status_code, error_of(error)["code"]) == (503, "draining")


async def test_the_gateway_has_metrics_of_its_own(engine: FakeEngine) -> None:
    async with serving(engine) as server, gateway(before(server.port)) as http:
        await http.post(PATH, json=CHAT)
        await http.post(PATH, json={**CHAT, "model": "other"})
        told = (await http.get("/metrics")).text
    assert f'tokenwire_http_requests_total{{code="200",method="POST {PATH}",model_name=""}} 1.0' in told
    assert f'tokenwire_http_request_duration_seconds_count{{method="POST {PATH}",model_name=""}} 2.0' in told
    assert 'tokenwire_errors_total{model_name="",reason="MODEL_NOT_FOUND"} 1.0' in told
    assert "tokenwire_build_info" in told


async def test_several_servers_get_the_calls_in_turn_while_they_are_healthy(
    engine: FakeEngine, tiny_folder: Path
) -> None:
    other = FakeEngine(answer([300, 301]), info=make_info(tiny_folder))
    async with serving(engine) as first, serving(other) as second:
        config = GatewayConfig(target=f"ipv4:127.0.0.1:{first.port},127.0.0.1:{second.port}", http_port=0)
        async with gateway(config) as http:

            async def both_were_asked() -> bool:
                assert (await http.post(PATH, json=CHAT)).status_code == 200
                return bool(engine.requests and other.requests)

            await until(both_were_asked)
            await first.drain()
            asked = len(engine.requests)
            for _ in range(6):
                assert (await http.post(PATH, json=CHAT)).status_code == 200
            assert len(engine.requests) == asked


async def test_a_service_that_is_not_there_is_a_503_to_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    async with gateway(before(port)) as http:
        for fields in ({}, {"stream": True}):
            refused = await http.post(PATH, json={**CHAT, **fields})
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert "cannot be reached" in error_of(refused)["message"]
        health = await http.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "unreachable"})


async def test_keys_and_request_ids_are_handed_on(engine: FakeEngine, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.touch()
    key = add_key(file, "alice", {})
    async with serving(engine, SecurityConfig(api_keys=file)) as server, gateway(before(server.port)) as http:
        for given in (b"", b"Bearer wrong", b"Bearer caf\xe9"):
            refused = await http.post(PATH, json=CHAT, headers={b"authorization": given})
            assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")
            assert refused.headers["www-authenticate"] == "Bearer"
        told = {"authorization": f"Bearer {key}", "x-request-id": "mine-1"}
        answered = await http.post(PATH, json={**CHAT, "store": True}, headers=told)
        assert (answered.status_code, answered.headers["x-request-id"]) == (200, "mine-1")
        stored = f"{PATH}/{answered.json()['id']}"
        assert (await http.get(stored, headers=told)).json()["id"] == answered.json()["id"]
        assert (await http.get("/health")).status_code == 200


async def test_both_connections_can_be_encrypted(engine: FakeEngine, tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    leaf.private_key_pem.write_to_path(str(key))
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    authority.cert_pem.write_to_path(str(ca))
    mutual = SecurityConfig(tls_cert=cert, tls_key=key, tls_client_ca=ca)
    async with serving(engine, mutual) as server:
        config = before(server.port, target_ca=ca, target_cert=cert, target_key=key, tls_cert=cert, tls_key=key)
        async with gateway(config, scheme="https", verify=authority) as http:
            assert (await http.post(PATH, json=CHAT)).json()["choices"][0]["message"]["content"]


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(SecurityFileError, match="--target-cert and --target-key"):
        Gateway(before(1, target_cert=tmp_path / "cert.pem"))
    with pytest.raises(SecurityFileError, match=r"nowhere\.pem"):
        Gateway(before(1, target_ca=tmp_path / "nowhere.pem"))


async def test_an_answer_that_has_begun_is_finished_when_the_gateway_ends(engine: FakeEngine) -> None:
    gate = asyncio.Event()
    engine.script = [[output(300)], gate, [output(301, finish=FinishReason.LENGTH)]]
    async with serving(engine) as server:
        stopped = Gateway(before(server.port))
        await stopped.start()
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, verify=False) as http,
            http.stream("POST", f"http://127.0.0.1:{stopped.port}{PATH}", json={**CHAT, "stream": True}) as answered,
        ):
            lines = answered.aiter_lines()
            await anext(lines)
            stopping = asyncio.create_task(stopped.stop())
            gate.set()
            rest = [line async for line in lines if line]
            await asyncio.wait_for(stopping, TIMEOUT_S)
    assert rest[-1] == "data: [DONE]"


async def test_a_client_that_takes_nothing_is_given_up(engine: FakeEngine) -> None:
    num_tokens = 600  # their log-probabilities are about 1 MB: far more than sockets and windows hold
    assert engine.info is not None
    engine.info = make_info(engine.info.model_path, context_length=2 * num_tokens)
    engine.script = answer([300 + number % 50 for number in range(num_tokens)])
    body = json.dumps({**CHAT, "stream": True, "logprobs": True, "top_logprobs": 20, "n": 4})
    head = f"POST {PATH} HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(engine))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        listener = listen("127.0.0.1", 0)
        rest = RestServer(create_gateway_app(channel, max_body_bytes=4096, max_write_s=0.5), listener)
        rest.start()
        stack.push_async_callback(rest.stop)
        client = stack.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        await loop.sock_sendall(client, (head + body).encode())
        assert b" 200 OK" in await asyncio.wait_for(loop.sock_recv(client, 1024), TIMEOUT_S)
        await asyncio.wait_for(server.service.wait_idle(), TIMEOUT_S)
        assert len(engine.aborts) == 1


def failure(code: grpc.StatusCode, *details: ErrorInfo | RetryInfo, raw: bytes | None = None) -> grpc.aio.AioRpcError:
    """A failed call with these details, or these bytes in their place."""
    status = Status(code=code.value[0], message="of the service")
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailers = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString() if raw is None else raw))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, "of the service")


def test_a_reason_of_a_newer_service_keeps_its_name_and_its_retry() -> None:
    retry = RetryInfo()
    retry.retry_delay.FromSeconds(3)
    newer = failure(grpc.StatusCode.UNAVAILABLE, ErrorInfo(reason="TOO_HOT"), retry)
    response = error_response(error_of_status(newer))
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    told = json.loads(bytes(response.body))["error"]
    assert told == {"message": "of the service", "type": "server_error", "param": None, "code": "too_hot"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNIMPLEMENTED, 501),
        (grpc.StatusCode.INTERNAL, 502),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ],
)
def test_a_status_whose_details_are_broken_is_told_by_its_code(code: grpc.StatusCode, status: int) -> None:
    response = error_response(error_of_status(failure(code, raw=b"\xff")))
    assert response.status_code == status
    assert json.loads(bytes(response.body))["error"]["code"] is None


async def test_the_command_serves_until_it_is_told_to_end(engine: FakeEngine) -> None:
    async with serving(engine) as server:
        command = [*TOKENWIRE, "gateway", "--target", f"127.0.0.1:{server.port}", "--http-port", "0"]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            line = (await asyncio.wait_for(process.stdout.readline(), TIMEOUT_S)).decode()
            match = re.search(r"http://\S+", line)
            assert match is not None
            async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=False) as http:
                assert (await http.get(f"{match[0]}/models")).json()["data"][0]["id"] == "tiny"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def test_the_command_tells_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, *TOKENWIRE[1:], "gateway", "--target-ca", str(tmp_path / "none.pem"), "--http-port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "none.pem cannot be read" in ended.stderr
    assert "Traceback" not in ended.stderr
