"""The clients and the real server when things go wrong: lost connections, full queues, drains, cancellation."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.cutting_proxy import CuttingProxy
from support.fake_engine import make_info
from support.server import TIMEOUT_S
from support.serving import until
from support.slotted_engine import SlottedEngine
from tokenwire.config import EngineConfig, QueueConfig, ServeConfig
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ChatCompletion, CompletionState, FinishReason
from tokenwire_client import (
    AsyncClient,
    ChatParameters,
    Client,
    CompletionCancelledError,
    CompletionNotFoundError,
    DrainingError,
    ExecutionPolicyDict,
    QueueFullError,
    RequestIdConflictError,
    Transport,
)

NO_RETRIES = Transport(retries=False)
LONG = 120
"""Tokens of an answer that takes about a quarter of a second."""
ENDLESS = 400
"""Tokens of one that outlasts its test."""
MAX_QUEUE = 8
DETACH: ExecutionPolicyDict = {"on_disconnect": "detach"}


@pytest.fixture
def engine(tiny_folder: Path) -> SlottedEngine:
    return SlottedEngine(info=make_info(tiny_folder), tokens=tuple(range(300, 400)))


@pytest.fixture
def serve_config(serve_config: ServeConfig) -> ServeConfig:
    return replace(serve_config, engine=EngineConfig(max_running=4), queue=QueueConfig(max_queue=MAX_QUEUE))


@pytest.fixture
def target(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
async def client(target: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(target, timeout_s=TIMEOUT_S, transport=NO_RETRIES) as client:
        yield client


def told(completion: ChatCompletion) -> tuple[list[str], int, int]:
    """What is the same in every run."""
    usage = completion.usage
    return [choice.content for choice in completion.choices], usage.prompt_tokens, usage.completion_tokens


async def test_streams_that_are_cut_at_random_points_give_the_uncut_answers(client: AsyncClient, target: str) -> None:
    asked: ChatParameters = {"model": "tiny", "n": 2, "seed": 7, "max_completion_tokens": LONG}
    whole = await client.chat("hi", **asked)
    lives = random.Random(5)
    num_connections = 0

    def num_bytes() -> int:
        nonlocal num_connections
        num_connections += 1
        return 1000 + int(lives.expovariate(1 / 2000))

    async def read(proxy: str) -> ChatCompletion:
        async with AsyncClient(proxy, timeout_s=TIMEOUT_S, resume=True) as cut:
            return [update.completion async for update in cut.stream("hi", **asked)][-1]

    async with CuttingProxy(target, num_bytes=num_bytes) as proxy:
        seen = await asyncio.gather(*(read(proxy.target) for _ in range(4)))
    assert num_connections > 1
    assert [told(each) for each in seen] == [told(whole)] * len(seen)


async def test_the_sync_client_goes_on_after_a_cut_too(client: AsyncClient, target: str) -> None:
    asked: ChatParameters = {"model": "tiny", "seed": 7, "max_completion_tokens": LONG}
    whole = await client.chat("hi", **asked)
    lives = iter([500])

    def read(proxy: str) -> ChatCompletion:
        with Client(proxy, timeout_s=TIMEOUT_S) as cut:
            return [update.completion for update in cut.stream("hi", resume=True, **asked)][-1]

    async with CuttingProxy(target, num_bytes=lambda: next(lives, 1 << 30)) as proxy:
        seen = await asyncio.to_thread(read, proxy.target)
    assert next(lives, None) is None
    assert told(seen) == told(whole)


async def test_a_detached_completion_is_found_again_by_its_id(client: AsyncClient) -> None:
    asked: ChatParameters = {"max_completion_tokens": LONG, "execution_policy": DETACH, "seed": 7}
    async with aclosing(client.stream("hi", **asked)) as stream:
        async for update in stream:
            if update.text:
                break
    begun, sequence = update.text, update.event.sequence
    live = await client.completion(update.completion.id)
    assert live.state == CompletionState.COMPLETION_STATE_RUNNING
    rest = [each async for each in client.resume(live.completion.id, after_sequence=sequence)]
    retained = await client.completion(live.completion.id)
    assert retained.state == CompletionState.COMPLETION_STATE_COMPLETED
    assert begun + rest[-1].completion.choices[0].content == retained.completion.choices[0].content
    assert rest[-1].completion.usage == retained.completion.usage


async def test_leaving_a_stream_that_resumes_frees_its_place(
    client: AsyncClient, server: Server, engine: SlottedEngine
) -> None:
    async with aclosing(client.stream("hi", resume=True, max_completion_tokens=ENDLESS)) as stream:
        async for update in stream:
            if update.text:
                break
    assert server.service.active == 0
    assert not engine.live


async def test_cancelling_by_name_ends_the_stream(client: AsyncClient) -> None:
    async def read() -> str:
        return "".join(
            [update.text async for update in client.stream("hi", request_id="mine", max_completion_tokens=ENDLESS)]
        )

    reading = asyncio.create_task(read())

    async def is_cancelled() -> bool:
        try:
            cancelled = await client.cancel(request_id="mine")
        except CompletionNotFoundError:  # not begun yet
            return False
        return cancelled.state == CompletionState.COMPLETION_STATE_CANCELLED

    await until(is_cancelled)
    with pytest.raises(CompletionCancelledError):
        await reading


async def test_the_same_request_again_gets_the_same_completion_and_another_body_a_conflict(client: AsyncClient) -> None:
    first = await client.chat("hi", request_id="mine", max_completion_tokens=5)
    again = await client.chat("hi", request_id="mine", max_completion_tokens=5)
    assert first == again
    assert (await client.chat("hi", max_completion_tokens=5)).id != first.id
    with pytest.raises(RequestIdConflictError):
        await client.chat("ho", request_id="mine", max_completion_tokens=5)


async def test_a_full_queue_tells_when_to_come_back_and_a_client_that_retries_does(
    client: AsyncClient, target: str
) -> None:
    full = aiter(client.stream("hi", n=MAX_QUEUE, max_completion_tokens=LONG))
    await anext(full)
    with pytest.raises(QueueFullError) as caught:
        await client.chat("hi", max_completion_tokens=5)
    assert caught.value.retry_after_s is not None
    async with AsyncClient(target, timeout_s=TIMEOUT_S) as patient:
        waiting = asyncio.create_task(patient.chat("hi", max_completion_tokens=5))
        async for _ in full:
            pass
        assert (await waiting).usage.completion_tokens == 5


async def test_a_time_budget_ends_an_answer_with_what_it_has(client: AsyncClient) -> None:
    completion = await client.chat("hi", max_completion_tokens=ENDLESS, execution_policy={"time_budget_s": 0.2})
    assert completion.choices[0].finish_reason == FinishReason.FINISH_REASON_TIME_LIMIT
    assert 0 < completion.usage.completion_tokens < ENDLESS


async def test_a_drain_lets_streams_end_and_refuses_others(client: AsyncClient, server: Server) -> None:
    stream: Any = client.stream("hi", resume=True, max_completion_tokens=LONG)
    await anext(stream)
    drain = asyncio.create_task(server.drain())
    rest = [update.text async for update in stream]
    with pytest.raises(DrainingError):
        await client.chat("hi")
    await drain
    assert "".join(rest)


async def test_what_is_left_after_the_grace_time_fails_with_draining(client: AsyncClient, server: Server) -> None:
    stream: Any = client.stream("hi", resume=True, max_completion_tokens=ENDLESS)
    await anext(stream)
    stop = asyncio.create_task(server.stop())
    with pytest.raises(DrainingError):
        async for _ in stream:
            pass
    await stop
