"""The same request and seed give the same answer, whoever else is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from e2e.conftest import Serving
from tokenwire_client import ChatParameters

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

OTHERS = 16
WAIT_S = 120
PROMPT = "Describe a city of the future in a few sentences."

PARAMETERS: dict[str, ChatParameters] = {
    "plain": {"temperature": 1},
    "nucleus": {"temperature": 1.2, "top_p": 0.9, "top_k": 40, "min_p": 0.02},
    "penalties": {"frequency_penalty": 0.7, "presence_penalty": 0.4, "repetition_penalty": 1.1},
    "bias": {"logit_bias": {28: -100, 30: 5}, "min_tokens": 8},
    "two choices": {"n": 2},
    "stop strings": {"stop": [",", "."], "min_tokens": 4},
}


@asynccontextmanager
async def sixteen_others(server: Serving) -> AsyncIterator[None]:
    """All of them run when the block begins; they are cancelled at its end."""

    async def other(number: int) -> None:
        prompt = f"{'Go on. ' * number}Tell me about the number {number}."
        stream = server.client.stream(prompt, seed=number, max_completion_tokens=400, ignore_eos=True)
        async with aclosing(stream):
            async for _ in stream:
                pass

    tasks = [asyncio.create_task(other(number)) for number in range(OTHERS)]
    try:
        await asyncio.wait_for(server.engine.wait_for_load(lambda load: load.running == OTHERS), WAIT_S)
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=WAIT_S)
        await asyncio.wait_for(server.engine.wait_for_load(lambda load: load.running == 0), WAIT_S)


async def answers(server: Serving, parameters: ChatParameters) -> list[str]:
    parameters = {"seed": 41, "max_completion_tokens": 32, **parameters}
    completion = await server.client.chat(PROMPT, **parameters)
    return [choice.content for choice in completion.choices]


async def test_the_same_request_and_seed_give_the_same_text_alone_and_among_sixteen_others(
    smollm2_server: Serving,
) -> None:
    alone = {name: await answers(smollm2_server, parameters) for name, parameters in PARAMETERS.items()}
    async with sixteen_others(smollm2_server):
        among = await asyncio.gather(*(answers(smollm2_server, parameters) for parameters in PARAMETERS.values()))
    assert among == list(alone.values())
    assert all(text for texts in alone.values() for text in texts)
    assert alone["two choices"][0] == alone["plain"][0] != alone["two choices"][1]


async def test_another_seed_gives_another_text(smollm2_server: Serving) -> None:
    texts = [
        (await smollm2_server.client.chat(PROMPT, seed=seed, max_completion_tokens=16)).choices[0].content
        for seed in (1, 2)
    ]
    assert texts[0] != texts[1]


async def test_the_seed_that_the_server_drew_replays_the_answer(smollm2_server: Serving) -> None:
    first = await smollm2_server.client.chat(PROMPT, max_completion_tokens=16)
    again = await smollm2_server.client.chat(PROMPT, max_completion_tokens=16, seed=first.parameters.seed)
    assert again.choices == first.choices
