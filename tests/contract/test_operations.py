"""What operators and balancers are told: the load, load reports in trailers, metrics on their port, access lines."""

import asyncio
import base64
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from prometheus_client.parser import text_string_to_metric_families

from support.fake_engine import FakeEngine
from support.orca import parse_load_report
from support.server import TIMEOUT_S, ignore_progress
from support.trace_collector import collecting
from tokenwire import __version__
from tokenwire.config import ObservabilityConfig, SecurityConfig, ServeConfig
from tokenwire.engine.protocol import EngineLoad
from tokenwire.logs import JsonFormatter
from tokenwire.rpc.orca import ORCA_KEY
from tokenwire.security.key_file import add_key
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Message, Role
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.operations_pb2 import GetLoadRequest, Load, ServerState, WatchLoadRequest
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub

if TYPE_CHECKING:  # in the type stubs only
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from tokenwire.v1.operations_pb2_grpc import OperationsServiceAsyncStub

GRPCURL = str(Path(sys.executable).with_name("grpcurl"))
HELLO = ChatCompletionRequest(model="tiny", messages=[Message(role=Role.ROLE_USER, content="a secret word")])


@pytest.fixture
def serve_config(serve_config: ServeConfig) -> ServeConfig:
    """With metrics and REST."""
    return replace(
        serve_config,
        observability=ObservabilityConfig(metrics_port=0),
        server=replace(serve_config.server, http_port=0),
    )


@pytest.fixture
def operations(channel: grpc.aio.Channel) -> "OperationsServiceAsyncStub":
    return OperationsServiceStub(channel)


@pytest.fixture
def chat(channel: grpc.aio.Channel) -> "ChatServiceAsyncStub":
    return ChatServiceStub(channel)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=False) as client:
        yield client


@asynccontextmanager
async def started(config: ServeConfig, engine: FakeEngine) -> AsyncIterator[Server]:
    server = Server(config, engine)
    try:
        await server.start(ignore_progress)
        yield server
    finally:
        await server.stop()


async def scrape(server: Server, http: httpx.AsyncClient) -> dict[str, float]:
    """Samples by name, with the values of the labels other than `model_name` in the order of their names."""
    answered = await http.get(f"http://{server.metrics_address}/metrics")
    assert answered.status_code == 200
    return {
        sample.name
        + "".join(f" {value}" for name, value in sample.labels.items() if name != "model_name"): sample.value
        for family in text_string_to_metric_families(answered.text)
        for sample in family.samples
    }


async def test_load_is_what_the_engine_and_the_queue_say(
    engine: FakeEngine, operations: "OperationsServiceAsyncStub"
) -> None:
    engine.load = EngineLoad(running=2, total_blocks=10, free_blocks=4)
    load: Load = await operations.GetLoad(GetLoadRequest(), timeout=TIMEOUT_S)
    assert load.state == ServerState.SERVER_STATE_SERVING
    assert load.running_choices == 2
    assert load.kv_cache_usage == pytest.approx(0.6)
    assert load.max_queued_choices > 0


async def next_state(call: "grpc.aio.UnaryStreamCall[WatchLoadRequest, Load]") -> int:
    load = await call.read()
    assert isinstance(load, Load)
    return load.state


async def test_a_watcher_sees_the_drain(server: Server, operations: "OperationsServiceAsyncStub") -> None:
    call = operations.WatchLoad(WatchLoadRequest(interval=Duration(nanos=100_000_000)), timeout=TIMEOUT_S)
    states = [await next_state(call)]
    server.service.drain()
    while states[-1] == ServerState.SERVER_STATE_SERVING:
        states.append(await next_state(call))
    assert states[-1] == ServerState.SERVER_STATE_DRAINING
    call.cancel()


@pytest.mark.parametrize("interval", [Duration(nanos=99_000_000), Duration(seconds=3601), Duration(seconds=-1)])
async def test_intervals_out_of_range_are_refused(interval: Duration, operations: "OperationsServiceAsyncStub") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await operations.WatchLoad(WatchLoadRequest(interval=interval), timeout=TIMEOUT_S).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "`interval` must be in [0.1 s, 3600 s]" in str(caught.value.details())


async def report_after(server: Server, method: str, **fields: object) -> Any:
    """The load report at the end of a call. Python's client keeps it from the application; grpcurl shows it."""
    command = ("-plaintext", "-v", "-d", json.dumps(fields), f"127.0.0.1:{server.port}", f"tokenwire.v1.{method}")
    call = await asyncio.create_subprocess_exec(GRPCURL, *command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(call.communicate(), TIMEOUT_S)
    (line,) = re.findall(rf"^{ORCA_KEY}: (\S+)$", output.decode(), re.MULTILINE)
    return parse_load_report(base64.b64decode(f"{line}=="))


async def test_answers_end_with_a_load_report(engine: FakeEngine, server: Server) -> None:
    engine.load = EngineLoad(running=512, total_blocks=10, free_blocks=4)
    hello = {"role": "ROLE_USER", "content": "hello"}
    async with asyncio.timeout(TIMEOUT_S):
        # A report is up to a tenth of a second old: that of the first call knows of no call.
        while not (
            report := await report_after(server, "ChatService/StreamChatCompletion", model="tiny", messages=[hello])
        ).rps_fractional:
            pass
    assert 0 <= report.application_utilization <= 1
    assert report.named_metrics["kv_cache_usage"] == pytest.approx(0.6)
    assert report.named_metrics["running_choices"] == 512


async def test_refusals_end_with_a_load_report_too(server: Server) -> None:
    report = await report_after(server, "ChatService/CreateChatCompletion", model="tiny")
    assert "kv_cache_usage" in report.named_metrics


async def test_a_completion_is_in_the_metrics(
    server: Server, chat: "ChatServiceAsyncStub", http: httpx.AsyncClient
) -> None:
    await chat.CreateChatCompletion(HELLO, timeout=TIMEOUT_S)
    found = await scrape(server, http)
    assert found["tokenwire_generation_tokens_total"] == 3
    assert found["tokenwire_request_generation_tokens_sum"] == 3
    assert found["tokenwire_time_to_first_token_seconds_count"] == 1
    assert found["tokenwire_inter_token_latency_seconds_count"] == 2
    assert found["tokenwire_completions_total completed"] == found["tokenwire_request_success_total stop"] == 1
    assert found["tokenwire_rpcs_total OK ChatService/CreateChatCompletion"] == 1


async def test_refusals_are_in_the_metrics_by_reason(
    server: Server, chat: "ChatServiceAsyncStub", http: httpx.AsyncClient
) -> None:
    server.service.drain()
    assert await chat.CreateChatCompletion(HELLO, timeout=TIMEOUT_S).code() is grpc.StatusCode.UNAVAILABLE
    url = f"http://127.0.0.1:{server.http_port}/v1/chat/completions"
    assert (await http.post(url, content=b"not JSON")).status_code == 400
    found = await scrape(server, http)
    assert found["tokenwire_errors_total DRAINING"] == found["tokenwire_errors_total MALFORMED_MESSAGE"] == 1
    assert found["tokenwire_rpcs_total UNAVAILABLE ChatService/CreateChatCompletion"] == 1
    assert found["tokenwire_http_requests_total 400 POST /v1/chat/completions"] == 1


async def test_the_metrics_port_has_nothing_else(server: Server, http: httpx.AsyncClient) -> None:
    assert (await http.get(f"http://{server.metrics_address}/v1/models")).status_code == 404


async def test_the_rest_port_has_metrics_too(server: Server, http: httpx.AsyncClient) -> None:
    url = f"http://127.0.0.1:{server.http_port}"
    await http.get(f"{url}/v1/models")
    answered = await http.get(f"{url}/metrics")
    assert answered.headers["content-type"].startswith("text/plain")
    assert 'tokenwire_http_requests_total{code="200",method="GET /v1/models",model_name="tiny"} 1.0' in answered.text
    assert "tokenwire_num_requests_running" in answered.text
    assert f'version="{__version__}"' in answered.text


class Lines(logging.Handler):
    """Keeps the records of the access log as JSON objects."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, object]] = []
        self.arrived = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))
        self.arrived.set()

    async def next(self) -> dict[str, object]:
        """Wait for the one line that there must be."""
        await asyncio.wait_for(self.arrived.wait(), TIMEOUT_S)
        (line,) = self.lines
        return line


@pytest.fixture
def access() -> Iterator[Lines]:
    logger = logging.getLogger("tokenwire.access")
    handler, level = Lines(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_an_rpc_has_one_access_line(chat: "ChatServiceAsyncStub", access: Lines) -> None:
    answer = await chat.CreateChatCompletion(HELLO, timeout=TIMEOUT_S, metadata=(("x-request-id", "abc"),))
    line = await access.next()
    assert line["method"] == "ChatService/CreateChatCompletion"
    assert (line["code"], line["request_id"], line["completion_id"]) == ("OK", "abc", answer.id)
    assert line["completion_tokens"] == 3
    assert "secret" not in json.dumps(line)


async def test_a_cancelled_rpc_says_so_in_its_access_line(
    engine: FakeEngine, chat: "ChatServiceAsyncStub", access: Lines
) -> None:
    engine.script = [asyncio.Event()]
    call = chat.StreamChatCompletion(HELLO, timeout=TIMEOUT_S)
    await call.read()
    call.cancel()
    line = await access.next()
    assert (line["method"], line["code"]) == ("ChatService/StreamChatCompletion", "CANCELLED")


async def test_an_http_request_has_one_access_line(server: Server, http: httpx.AsyncClient, access: Lines) -> None:
    answered = await http.get(f"http://127.0.0.1:{server.http_port}/v1/models/none", headers={"x-request-id": "abc"})
    assert answered.status_code == 404
    line = await access.next()
    assert (line["method"], line["code"], line["reason"]) == ("GET /v1/models/{id}", "404", "MODEL_NOT_FOUND")
    assert line["request_id"] == "abc"


async def test_a_client_that_leaves_is_a_499_in_the_access_line(
    engine: FakeEngine, server: Server, http: httpx.AsyncClient, access: Lines
) -> None:
    engine.script = [asyncio.Event()]
    url = f"http://127.0.0.1:{server.http_port}/v1/chat/completions"
    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    async with http.stream("POST", url, json=body) as answered:
        assert answered.status_code == 200
    line = await access.next()
    assert (line["method"], line["code"]) == ("POST /v1/chat/completions", "499")


async def test_calls_are_told_by_the_name_of_their_key(
    engine: FakeEngine, serve_config: ServeConfig, tmp_path: Path, http: httpx.AsyncClient, access: Lines
) -> None:
    file = tmp_path / "keys.yaml"
    key = add_key(file, "alice", {})
    config = replace(serve_config, security=SecurityConfig(api_keys=file))
    async with started(config, engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        chat = ChatServiceStub(channel)
        await chat.CreateChatCompletion(HELLO, timeout=TIMEOUT_S, metadata=(("authorization", f"Bearer {key}"),))
        line = await access.next()
        await chat.CreateChatCompletion(HELLO, timeout=TIMEOUT_S).code()
        found = await scrape(server, http)
    assert line["key"] == "alice"
    assert key not in json.dumps(line)
    assert found["tokenwire_key_tokens_total alice generation"] == 3
    assert found["tokenwire_errors_total BAD_API_KEY"] == 1


async def test_a_completion_is_a_span_below_its_caller_s(engine: FakeEngine, serve_config: ServeConfig) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with collecting() as collector:
        config = replace(serve_config, observability=ObservabilityConfig(otlp_endpoint=collector.endpoint))
        async with started(config, engine) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            caller = (("traceparent", f"00-{trace}-{parent}-01"),)
            await ChatServiceStub(channel).CreateChatCompletion(HELLO, timeout=TIMEOUT_S, metadata=caller)
        # The end of the server has sent them.
        (chat,) = [span for span in collector.spans if span.name == "chat tiny"]
    assert (chat.trace_id.hex(), chat.parent_span_id.hex()) == (trace, parent)
    assert len(collector.spans) == 4
