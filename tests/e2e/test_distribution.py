"""How often the served model says what: against the exact probabilities of transformers' logits, chi-squared."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from e2e.conftest import Serving
from tokenwire.v1.chat_pb2 import TokenLogprob
from tokenwire_client import ChatParameters, regex

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

PROMPT = "Give me a letter."
CHOICES = 128
REQUESTS = 4


@torch.inference_mode()
def raw_logprobs(folder: Path, prompt: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of the token after a prompt. [vocabulary] float64"""
    torch.set_num_threads(1)  # the other core is the server's
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits: torch.Tensor = model(torch.tensor([list(prompt)])).logits[0, -1]
    return logits.double().log_softmax(-1)


@pytest.mark.parametrize(
    ("parameters", "letters"),
    [
        ({"temperature": 1.7, "top_k": 12}, None),
        ({"temperature": 2.0, "response_format": regex("[A-F]"), "logit_bias": {}}, "ABCDEF"),
    ],
    ids=["of the 12 best", "of a regular expression, biased"],
)
async def test_first_tokens_come_as_often_as_transformers_says_and_tell_raw_log_probabilities(
    smollm2_server: Serving, parameters: ChatParameters, letters: str | None
) -> None:
    client = smollm2_server.client
    prompt = (await client.render_prompt(PROMPT)).token_ids
    raw = await asyncio.to_thread(raw_logprobs, smollm2_server.info.model_path, prompt)
    allowed = list(range(len(raw)))
    if letters is not None:
        allowed = [(await client.tokenize(letter)).token_ids[0] for letter in letters]
    scores = torch.full_like(raw, -math.inf)
    scores[allowed] = raw[allowed]
    if "logit_bias" in parameters:
        parameters = {**parameters, "logit_bias": {allowed[0]: 1.5, allowed[1]: -100}}
        scores[allowed[0]] += 1.5
        scores[allowed[1]] = -math.inf
    z = scores / (parameters["temperature"] or 1)
    if (top_k := parameters.get("top_k")) is not None:
        z[z < z.topk(top_k).values[-1]] = -math.inf
    tokens = await first_tokens(smollm2_server, parameters)
    for token in tokens:
        assert token.logprob == pytest.approx(raw[token.token_id].item(), abs=1e-3)
    check_chi_squared(Counter(token.token_id for token in tokens), z.softmax(0))


async def first_tokens(serving: Serving, parameters: ChatParameters) -> list[TokenLogprob]:
    """Of many choices, each with a seed of its own."""
    asked: ChatParameters = {**parameters, "n": CHOICES, "max_completion_tokens": 1, "logprobs": True}
    tokens: list[TokenLogprob] = []
    for number in range(REQUESTS):
        asked["seed"] = CHOICES * number
        completion = await serving.client.chat(PROMPT, **asked)
        tokens += (choice.logprobs[0] for choice in completion.choices)
    return tokens


def check_chi_squared(counts: Counter[int], probabilities: torch.Tensor) -> None:
    """Tokens that are expected less than 10 times count together."""
    expected = probabilities * counts.total()
    assert all(expected[token_id] > 0 for token_id in counts)
    frequent = (expected >= 10).nonzero().flatten().tolist()
    bins = [(counts[token_id], expected[token_id].item()) for token_id in frequent]
    rest = counts.total() - sum(count for count, _ in bins), counts.total() - sum(mean for _, mean in bins)
    if rest[1] >= 10:
        bins.append(rest)
    freedom = len(bins) - 1
    assert freedom >= 2
    chi_squared = sum((count - mean) ** 2 / mean for count, mean in bins)
    assert chi_squared < freedom + 4 * math.sqrt(2 * freedom)
