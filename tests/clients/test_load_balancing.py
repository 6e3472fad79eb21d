"""Several servers behind one client: what docs/load-balancing.md says, shown on two of them."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from support.fake_engine import FakeEngine, answer, make_info, output
from support.server import TIMEOUT_S, ignore_progress
from support.serving import until
from support.slotted_engine import SlottedEngine
from tokenwire.config import ModelOptions, QueueConfig, ServeConfig, ServerConfig
from tokenwire.engine.protocol import Engine, FinishReason
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ChatCompletionRequest
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire_client import AsyncClient, CompletionNotFoundError, Transport, user
from tokenwire_client._connection import LoadBalancing

ROOT = Path(__file__).parents[2]
MODEL = "tiny"
PAGE_CONFIGS: list[str] = re.findall(
    r"^```json\n(.*?)^```", (ROOT / "docs/load-balancing.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
POLICIES: Sequence[LoadBalancing] = ("round_robin", "weighted_round_robin")


@asynccontextmanager
async def serving(engine: Engine, *, port: int = 0) -> AsyncIterator[Server]:
    """A server that can be drained before its end."""
    config = ServeConfig(
        model=ModelOptions(model=MODEL),
        server=ServerConfig(port=port, drain_grace_s=TIMEOUT_S),
        queue=QueueConfig(max_queue=64),
    )
    server = Server(config, engine)
    try:
        await server.start(ignore_progress)
        yield server
    finally:
        await server.stop()


@pytest.fixture
def engines(tiny_folder: Path) -> list[FakeEngine]:
    """Of the two servers; each answers with three tokens."""
    return [FakeEngine(answer([300, 301, 302]), info=make_info(tiny_folder)) for _ in range(2)]


@pytest.fixture
async def servers(engines: list[FakeEngine]) -> AsyncIterator[list[Server]]:
    """Two of them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(engine)) for engine in engines]


def target(servers: Sequence[Server]) -> str:
    """All of them."""
    return "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


def balanced(
    servers: Sequence[Server], policy: LoadBalancing = "round_robin", *, retries: bool = True, resume: bool = False
) -> AsyncClient:
    transport = Transport(load_balancing=policy, retries=retries)
    return AsyncClient(target(servers), timeout_s=TIMEOUT_S, resume=resume, transport=transport)


async def chats(client: AsyncClient, number: int) -> None:
    """One after the other. Raises as `chat`."""
    for _ in range(number):
        await client.chat("hi", model=MODEL)


async def until_all_are_called(client: AsyncClient, engines: Sequence[FakeEngine]) -> None:
    """Connections are made one after the other: the first calls all go to the first that is there."""

    async def all_are_called() -> bool:
        await chats(client, 1)
        return all(engine.requests for engine in engines)

    await until(all_are_called)
    for engine in engines:
        engine.requests.clear()


async def test_without_a_policy_all_calls_go_to_one_server(servers: list[Server], engines: list[FakeEngine]) -> None:
    async with AsyncClient(target(servers), timeout_s=TIMEOUT_S) as client:
        await chats(client, 6)
    assert sorted(len(engine.requests) for engine in engines) == [0, 6]


async def test_round_robin_calls_the_servers_in_turn(servers: list[Server], engines: list[FakeEngine]) -> None:
    async with balanced(servers) as client:
        await until_all_are_called(client, engines)
        await chats(client, 10)
    assert [len(engine.requests) for engine in engines] == [5, 5]


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_server_that_drains_ends_its_stream_and_gets_no_new_call(
    servers: list[Server], engines: list[FakeEngine], policy: LoadBalancing
) -> None:
    gate = asyncio.Event()
    for engine in engines:
        engine.script = [[output(300)], gate, [output(301, finish=FinishReason.STOP)]]
    async with balanced(servers, policy) as client:
        stream = client.stream("hi", model=MODEL)
        await anext(stream)
        for engine in engines:
            engine.script = answer([300])
        drained = next(index for index, engine in enumerate(engines) if engine.requests)
        drain = asyncio.create_task(servers[drained].drain())
        await chats(client, 20)
        assert [len(engines[drained].requests), len(engines[1 - drained].requests)] == [1, 20]
        gate.set()
        updates = [update async for update in stream]
        assert updates[-1].completion.usage.completion_tokens == 2
        await drain


async def test_health_alone_takes_a_drained_server_out_and_a_new_one_in(
    servers: list[Server], engines: list[FakeEngine], tiny_folder: Path
) -> None:
    async with balanced(servers, retries=False) as client:
        await until_all_are_called(client, engines)
        await servers[0].drain()

        async def ten_calls_pass() -> bool:
            try:
                await chats(client, 10)
            except Exception:  # refused: the health service's word is still on its way
                return False
            return True

        await until(ten_calls_pass)
        await servers[0].stop()
        await chats(client, 10)
        assert not engines[0].requests
        successor = FakeEngine(answer([300]), info=make_info(tiny_folder))
        async with serving(successor, port=servers[0].port):
            await until_all_are_called(client, [successor])


async def test_a_completion_is_found_on_its_own_server_only(servers: list[Server], engines: list[FakeEngine]) -> None:
    async with balanced(servers) as client:
        await until_all_are_called(client, engines)
        stored = await client.chat("hi", model=MODEL, store=True)
        with pytest.raises(CompletionNotFoundError):
            await client.completion(stored.id)
        assert (await client.completion(stored.id)).completion.id == stored.id  # it is the first one's turn again


async def test_weights_give_the_faster_server_more_calls(tiny_folder: Path) -> None:
    info = make_info(tiny_folder)
    fast, slow = (SlottedEngine(info=info, slots=1, step_s=step_s) for step_s in (0.001, 0.01))
    config = re.sub(r"\d+s", "0.1s", PAGE_CONFIGS[1])  # so that the test need not wait
    request = ChatCompletionRequest(model=MODEL, messages=[user("hi")], max_completion_tokens=20)

    async with serving(fast) as one, serving(slow) as other:
        options = [("grpc.service_config", config)]
        async with grpc.aio.insecure_channel(target([one, other]), options) as channel:
            stub = ChatServiceStub(channel)

            async def call(number: int) -> None:
                for _ in range(number):
                    await stub.CreateChatCompletion(request, timeout=TIMEOUT_S)

            async def fast_gets_more() -> bool:
                fast.requests.clear()
                slow.requests.clear()
                async with asyncio.TaskGroup() as group:
                    for _ in range(8):
                        group.create_task(call(4))
                return len(fast.requests) >= 1.25 * len(slow.requests) > 0  # by turns they would get the same

            await until(fast_gets_more)


async def test_the_demo_shows_calls_on_both_servers(tiny_folder: Path) -> None:
    engines = [SlottedEngine(info=make_info(tiny_folder), slots=8, step_s=0.005) for _ in range(2)]
    async with serving(engines[0]) as one, serving(engines[1]) as other:
        demo = await asyncio.create_subprocess_exec(
            sys.executable,
            ROOT / "clients/python/examples/load_balancing.py",
            *(f"127.0.0.1:{server.port}" for server in (one, other)),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asyncio.wait_for(demo.communicate(), TIMEOUT_S)
    assert demo.returncode == 0
    assert re.search(r"^\d+ calls, 0 failed$", printed.decode(), re.MULTILINE)
    assert all(engine.requests for engine in engines)


def test_the_page_has_the_service_config_of_our_client() -> None:
    assert json.loads(PAGE_CONFIGS[0]) == Transport(load_balancing="round_robin").service_config
