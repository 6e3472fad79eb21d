"""Greedy answers of the real model in float32, token for token those of transformers' `generate`."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM

from e2e.conftest import Serving
from tokenwire_client import MessageDict, Prompt

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

MAX_TOKENS = 64
IN_FLIGHT = 16

_ARTICLE = (
    "The lighthouse on the northern cape was built in 1871 from grey granite that ships had carried from the mainland. "
    "Its keeper lit the lamp each evening, wound the clockwork that turned the lens, and wrote down the weather. "
    "When electricity came, in 1934, the clockwork was given to a museum and the keeper's house became a school. "
)

_CONVERSATION: list[MessageDict] = [
    {"role": "system", "content": "You are a patient teacher of mathematics."},
    {"role": "user", "content": "What is a prime number?"},
    {"role": "assistant", "content": "A number greater than 1 that only 1 and itself divide."},
    {"role": "user", "content": "Is 91 one?"},
]

PROMPTS: list[Prompt] = [
    "What is the capital of France?",
    "Who wrote Romeo and Juliet, and when?",
    "Why is the sky blue?",
    "Explain photosynthesis to a child.",
    "What is the difference between weather and climate?",
    "Which planet is the largest of the solar system?",
    "Hello",
    "?",
    "Write a Python function that reverses a string.",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "SELECT name, COUNT(*) FROM orders GROUP BY",
    "Write a regular expression for an e-mail address.",
    "Fix this: for i in range(10) print(i)",
    "List five fruits, one per line.",
    "Give me three reasons to learn a second language.",
    "Count from one to ten in words.",
    "1, 1, 2, 3, 5, 8, 13,",
    "Übersetze ins Englische: Die Straße ist naß.",
    "¿Cómo se dice “good morning” en español?",
    "你好,你是谁?",
    "Was bedeutet 🎉🙂 in einer Nachricht?",
    "Что такое дружба?",
    "Write a short poem about the sea.",
    "Tell me a joke about a cat and a keyboard.",
    "Once upon a time, in a village by the river,",
    "Which year is named last in this text?\n\n" + 6 * _ARTICLE,
    "Repeat the word lamp as often as the text has it.\n\n" + 20 * _ARTICLE,
    _CONVERSATION,
    [{"role": "system", "content": "Answer in capital letters."}, {"role": "user", "content": "Where is Rome?"}],
    [*_CONVERSATION, {"role": "assistant", "content": "No: 7 × 13."}, {"role": "user", "content": "And 97?"}],
]


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated tokens and the log-probability of each."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def expected(smollm2_server: Serving) -> Awaitable[list[Answer]]:
    """What transformers generates, one prompt after the other, while the first test asks the server."""
    prompts = [list((await smollm2_server.client.render_prompt(prompt)).token_ids) for prompt in PROMPTS]
    return asyncio.create_task(asyncio.to_thread(_generate, smollm2_server.info.model_path, prompts))


@torch.inference_mode()
def _generate(folder: Path, prompts: list[list[int]]) -> list[Answer]:
    torch.set_num_threads(1)  # the other core is the server's
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    for prompt in prompts:
        inputs = torch.tensor([prompt])
        output = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        tokens = output.sequences[0, len(prompt) :]
        logprobs = torch.cat(output.logits).double().log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        answers.append(Answer(tuple(tokens.tolist()), tuple(logprobs.tolist())))
    return answers


async def answer(server: Serving, prompt: Prompt) -> Answer:
    """What the server generates."""
    completion = await server.client.chat(prompt, temperature=0, max_completion_tokens=MAX_TOKENS, logprobs=True)
    entries = completion.choices[0].logprobs
    return Answer(tuple(entry.token_id for entry in entries), tuple(entry.logprob for entry in entries))


def check(answers: list[Answer], expected: list[Answer]) -> None:
    for prompt, ours, theirs in zip(PROMPTS, answers, expected, strict=True):
        assert ours.token_ids == theirs.token_ids, prompt
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4), prompt


async def test_alone_each_answer_is_that_of_transformers(
    smollm2_server: Serving, expected: Awaitable[list[Answer]]
) -> None:
    answers = [await answer(smollm2_server, prompt) for prompt in PROMPTS]
    check(answers, await expected)


async def test_sixteen_in_flight_give_the_same_answers(
    smollm2_server: Serving, expected: Awaitable[list[Answer]]
) -> None:
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one(prompt: Prompt) -> Answer:
        async with free:
            return await answer(smollm2_server, prompt)

    answers = await asyncio.gather(*(one(prompt) for prompt in PROMPTS))
    check(answers, await expected)
