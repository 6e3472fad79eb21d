"""What is cancelled frees its place and its memory within one engine step: the engine's own figures say so."""

import asyncio
from contextlib import aclosing

import httpx
import pytest

from e2e.conftest import CALL_TIMEOUT_S, MODEL, Serving
from tokenwire.engine.protocol import EngineLoad, GenerationRequest, SamplingParams

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

WAIT_S = 60
BLOCK_SIZE = 16
SAMPLING = SamplingParams(seed=1, max_tokens=500, ignore_eos=True)


def is_empty(load: EngineLoad) -> bool:
    return load.running == load.waiting == 0 and load.free_blocks == load.total_blocks


async def test_an_abort_frees_the_sequence_and_its_blocks_within_one_step(smollm2_server: Serving) -> None:
    engine = smollm2_server.engine
    long, short = tuple(range(1000, 1000 + 20 * BLOCK_SIZE)), tuple(range(3000, 3000 + BLOCK_SIZE))
    aborted = engine.generate(GenerationRequest("aborted", long, SAMPLING))
    other = engine.generate(GenerationRequest("other", short, SAMPLING))
    try:
        for generation in (aborted, other):
            await asyncio.wait_for(generation.receive(), WAIT_S)
        before = engine.load
        assert before.running == 2
        aborted.abort()
        after = await asyncio.wait_for(engine.wait_for_load(lambda load: load.running == 1), WAIT_S)
        # A step may have been under way when the abort came.
        assert after.step <= before.step + 2
        # The other one may have begun a block meanwhile.
        assert after.free_blocks >= before.free_blocks + len(long) // BLOCK_SIZE - 1
        (output, *_) = await asyncio.wait_for(other.receive(), WAIT_S)
        assert output.request_id == "other"
    finally:
        aborted.abort()
        other.abort()
        await asyncio.wait_for(engine.wait_for_load(is_empty), WAIT_S)


async def test_a_cancelled_stream_leaves_nothing_in_the_engine(smollm2_server: Serving) -> None:
    stream = smollm2_server.client.stream("Tell me a long story.", ignore_eos=True, n=2)
    async with aclosing(stream):
        async for update in stream:
            if update.text:
                break
        # The second choice begins once the prompt's blocks are there for both.
        await asyncio.wait_for(smollm2_server.engine.wait_for_load(lambda load: load.running == 2), WAIT_S)
    await asyncio.wait_for(smollm2_server.engine.wait_for_load(is_empty), WAIT_S)


async def test_a_cancelled_unary_call_leaves_nothing_in_the_engine(smollm2_server: Serving) -> None:
    call = asyncio.create_task(smollm2_server.client.chat("Tell me a long story.", ignore_eos=True))
    await asyncio.wait_for(smollm2_server.engine.wait_for_load(lambda load: load.running == 1), WAIT_S)
    call.cancel()
    await asyncio.wait_for(smollm2_server.engine.wait_for_load(is_empty), WAIT_S)
    assert call.cancelled()


async def test_a_closed_http_connection_leaves_nothing_in_the_engine(smollm2_server: Serving) -> None:
    messages = [{"role": "user", "content": "Tell me a long story."}]
    body = {"model": MODEL, "messages": messages, "stream": True, "ignore_eos": True}
    async with (
        httpx.AsyncClient(base_url=smollm2_server.url, timeout=CALL_TIMEOUT_S, verify=False) as http,
        http.stream("POST", "/v1/chat/completions", json=body) as answered,
    ):
        lines = answered.aiter_lines()  # kept: dropped, it would close the connection
        await anext(lines)
        await asyncio.wait_for(smollm2_server.engine.wait_for_load(lambda load: load.running == 1), WAIT_S)
    await asyncio.wait_for(smollm2_server.engine.wait_for_load(is_empty), WAIT_S)
