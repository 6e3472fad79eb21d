"""Many streams at once over one channel."""

import asyncio

import pytest

from e2e.conftest import Serving
from tokenwire.v1.chat_pb2 import ChatCompletion

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

STREAMS = 32
MAX_TOKENS = 40


async def test_32_streams_finish_and_leave_nothing_behind(smollm2_server: Serving) -> None:
    async def stream(number: int) -> ChatCompletion:
        # The client checks the grammar of every stream.
        updates = smollm2_server.client.stream(
            f"{'Please. ' * number}Write a sentence about the number {number}.",
            seed=number,
            max_completion_tokens=MAX_TOKENS,
            ignore_eos=number % 2 == 0,
            logprobs=number % 3 == 0,
        )
        return [update async for update in updates][-1].completion

    completions = await asyncio.gather(*(stream(number) for number in range(STREAMS)))
    assert len({completion.id for completion in completions}) == STREAMS
    for number, completion in enumerate(completions):
        generated = completion.usage.completion_tokens
        assert generated == MAX_TOKENS if number % 2 == 0 else 1 <= generated <= MAX_TOKENS
        assert len(completion.choices[0].logprobs) == (generated if number % 3 == 0 else 0)
    load = await asyncio.wait_for(
        smollm2_server.engine.wait_for_load(lambda load: load.running == load.waiting == 0), timeout=10
    )
    assert load.free_blocks == load.total_blocks
