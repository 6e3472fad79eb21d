"""Every way to cancel, over real connections to a real engine process: at the end nothing is left in the engine.

That an abort frees at once is shown by `unit/test_cancel_phases.py`; within a step, by `e2e/test_cancel.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
import pytest_asyncio

from support.server import ignore_progress
from support.streams import request
from support.tiny import make_model
from tokenwire.config import EngineConfig, ModelOptions, ServeConfig, ServerConfig
from tokenwire.engine.protocol import EngineLoad
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import CancelChatCompletionRequest, ChatCompletionRequest, CompletionState
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAIT_S = 120
LONG_PROMPT = [{"role": "ROLE_USER", "content": "the quick brown fox jumps over the lazy dog " * 100}]
ENDLESS = request(n=2, ignore_eos=True, seed="1", request_id="endless")


@dataclass
class Serving:
    """A server with its engine, and a channel to it."""

    server: Server
    engine: SupervisedEngine
    channel: grpc.aio.Channel

    @property
    def stub(self) -> "ChatServiceAsyncStub":
        stub: ChatServiceAsyncStub = ChatServiceStub(self.channel)
        return stub

    async def until(self, condition: Callable[[EngineLoad], bool]) -> None:
        await asyncio.wait_for(self.engine.wait_for_load(condition), WAIT_S)

    async def until_empty(self) -> None:
        await self.until(lambda load: load.running == load.waiting == 0 and load.free_blocks == load.total_blocks)
        await asyncio.wait_for(self.server.service.wait_idle(), WAIT_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A tiny model with a long context, two sequences at once, and few tokens a step."""
    folder: Path = make_model(tmp_path_factory.mktemp("model"), max_position_embeddings=1 << 14)
    config = ServeConfig(
        model=ModelOptions(model=str(folder), served_model_name="tiny", device="cpu", weights="fp32"),
        engine=EngineConfig(kv_memory="32MiB", threads=1, max_running=2, max_step_tokens=32, speculation=False),
        server=ServerConfig(port=0, http_port=0),
    )
    engine = SupervisedEngine(config.engine_options)
    server = Server(config, engine)
    try:
        await asyncio.wait_for(server.start(ignore_progress), WAIT_S)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Serving(server, engine, channel)
    finally:
        await asyncio.wait_for(server.stop(), WAIT_S)


def is_decoding(load: EngineLoad) -> bool:
    return load.running == 2


async def cancel_a_stream(serving: Serving) -> None:
    call = serving.stub.StreamChatCompletion(ENDLESS, timeout=WAIT_S)
    await call.read()
    await serving.until(is_decoding)
    call.cancel()


async def cancel_a_unary_call(serving: Serving) -> None:
    call = serving.stub.CreateChatCompletion(ENDLESS, timeout=WAIT_S)
    await serving.until(is_decoding)
    call.cancel()


async def let_the_deadline_pass(serving: Serving) -> None:
    call = serving.stub.CreateChatCompletion(ENDLESS, timeout=1.0)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def ask_for_the_cancellation(serving: Serving) -> None:
    call = serving.stub.CreateChatCompletion(ENDLESS, timeout=WAIT_S)
    await serving.until(is_decoding)
    told = await serving.stub.CancelChatCompletion(CancelChatCompletionRequest(request_id="endless"), timeout=WAIT_S)
    assert told.state == CompletionState.COMPLETION_STATE_CANCELLED
    assert await call.code() is grpc.StatusCode.CANCELLED


async def close_an_http_connection(serving: Serving, *, streams: bool) -> None:
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "tiny", "messages": messages, "stream": streams, "ignore_eos": True, "n": 2}
    url = f"http://127.0.0.1:{serving.server.http_port}/v1/chat/completions"
    async with httpx.AsyncClient(timeout=WAIT_S, verify=False) as http:
        asking = asyncio.create_task(http.post(url, json=body))
        await serving.until(is_decoding)
        asking.cancel()
        await asyncio.wait([asking])


async def close_an_event_stream(serving: Serving) -> None:
    await close_an_http_connection(serving, streams=True)


async def close_an_http_request(serving: Serving) -> None:
    await close_an_http_connection(serving, streams=False)


WAYS: tuple[Callable[[Serving], Awaitable[None]], ...] = (
    cancel_a_stream,
    cancel_a_unary_call,
    let_the_deadline_pass,
    ask_for_the_cancellation,
    close_an_event_stream,
    close_an_http_request,
)


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_cancelled_leaves_nothing_in_the_engine(
    serving: Serving, way: Callable[[Serving], Awaitable[None]]
) -> None:
    await way(serving)
    await serving.until_empty()


PHASES: dict[str, ChatCompletionRequest] = {
    "a long prompt": request(messages=LONG_PROMPT, n=2),
    "a grammar": request(response_format={"regex": "[a-z]{5000}"}),
    "a grammar that is new": request(response_format={"json_schema": {"schema": '{"type": "array", "minItems": 500}'}}),
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("is_started", [False, True])
async def test_whatever_it_is_at_a_cancelled_call_leaves_nothing(
    serving: Serving, phase: str, is_started: bool
) -> None:
    call = serving.stub.StreamChatCompletion(PHASES[phase], timeout=WAIT_S)
    if is_started:
        await call.read()
    call.cancel()
    await serving.until_empty()


async def test_a_call_that_waits_for_its_turn_is_cancelled(serving: Serving) -> None:
    running = serving.stub.StreamChatCompletion(ENDLESS, timeout=WAIT_S)
    await running.read()
    await serving.until(is_decoding)
    calls = [serving.stub.StreamChatCompletion(request(n=2), timeout=WAIT_S) for _ in range(8)]
    for call in calls:
        await call.read()
    assert serving.server.service.load.waiting_choices > 0
    for call in calls:
        call.cancel()
    running.cancel()
    await serving.until_empty()
    load = serving.server.service.load
    assert (load.waiting_choices, load.queued_tokens) == (0, 0)
