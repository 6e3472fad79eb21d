"""`--deterministic` over gRPC: a request has the same bits alone, among others, preempted and after a restart."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from e2e.conftest import Serving, serve
from tokenwire.v1.chat_pb2 import Choice
from tokenwire_client import ChatParameters

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

OTHERS = 32
WAIT_S = 180
PROMPT = "Describe a city of the future in a few sentences. " * 7
COMMON: ChatParameters = {"seed": 7, "max_completion_tokens": 8, "logprobs": True, "top_logprobs": 2}
REQUESTS: list[ChatParameters] = [
    {**COMMON, "temperature": 0},
    {**COMMON, "temperature": 1.5, "n": 2},
    {**COMMON, "temperature": 1, "top_p": 0.9},
]


async def answers(server: Serving) -> list[list[Choice]]:
    """The choices of each request, with log-probabilities."""
    completions = await asyncio.gather(*(server.client.chat(PROMPT, **parameters) for parameters in REQUESTS))
    return [list(completion.choices) for completion in completions]


async def other(server: Serving, number: int) -> None:
    prompt = f"{'Go on. ' * (number % 8)}Tell me about the number {number}."
    async with aclosing(server.client.stream(prompt, max_completion_tokens=100, ignore_eos=True)) as stream:
        async for _ in stream:
            pass


async def answers_among_others(server: Serving) -> list[list[Choice]]:
    """With all of them preempted once on the way."""
    others = [asyncio.create_task(other(server, number)) for number in range(OTHERS)]
    try:
        await asyncio.wait_for(server.engine.wait_for_load(lambda load: load.running == OTHERS), WAIT_S)
        call = asyncio.create_task(answers(server))
        await asyncio.wait_for(server.engine.wait_for_load(lambda load: load.running == OTHERS + 4), WAIT_S)
        server.engine.preempt()
        found = await asyncio.wait_for(call, WAIT_S)
        assert server.engine.load.preemptions == OTHERS + 4
        assert not any(task.done() for task in others)
        return found
    finally:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=WAIT_S)


async def test_an_answer_depends_on_its_request_alone(smollm2: Path) -> None:
    async with serve(smollm2, deterministic=True) as server:
        alone = await answers(server)
    async with serve(smollm2, deterministic=True) as server:
        among = await answers_among_others(server)
    assert among == alone
