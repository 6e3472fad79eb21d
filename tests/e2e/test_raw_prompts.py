"""Legacy completions of the real model: what they score a text with, and that a rendered chat is a prompt."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM

from e2e.conftest import CALL_TIMEOUT_S, MODEL, Serving

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

TEXT = "The capital of France is Paris. Naïve 🙂 purple seventeen."
QUESTION = "Name a colour and a fruit."
SAMPLING = {"seed": 11, "temperature": 0.9, "max_tokens": 16, "logprobs": 3}


@torch.inference_mode()
def logprobs_of(folder: Path, token_ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities of each token but the first, by transformers. [tokens - 1, vocabulary] float64"""
    torch.set_num_threads(1)  # the other core is the server's
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logits: torch.Tensor = model(torch.tensor([list(token_ids)])).logits[0, :-1]
    return logits.double().log_softmax(-1)


async def post(serving: Serving, path: str, **body: object) -> Any:
    async with httpx.AsyncClient(base_url=serving.url, timeout=CALL_TIMEOUT_S) as http:
        answered = await http.post(path, json={"model": MODEL, **body})
    assert answered.status_code == 200, answered.text
    return answered.json()


async def test_a_text_is_scored_as_by_transformers(smollm2_server: Serving) -> None:
    tokens = (await post(smollm2_server, "/tokenize", prompt=TEXT))["tokens"]
    expected = await asyncio.to_thread(logprobs_of, smollm2_server.info.model_path, tokens)
    asked = {"prompt": TEXT, "echo": True, "logprobs": 2, "max_tokens": 0}
    (choice,) = (await post(smollm2_server, "/v1/completions", **asked))["choices"]
    assert choice["text"] == TEXT
    first, *told = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert told == pytest.approx(expected.gather(1, torch.tensor(tokens[1:])[:, None]).flatten().tolist(), abs=1e-3)
    best = [max(likely.values()) for likely in choice["logprobs"]["top_logprobs"][1:]]
    assert best == pytest.approx(expected.max(1).values.tolist(), abs=1e-3)


async def test_a_rendered_chat_as_a_prompt_is_answered_as_the_chat(smollm2_server: Serving) -> None:
    rendered = (await smollm2_server.client.render_prompt(QUESTION)).prompt
    raw = await post(smollm2_server, "/v1/completions", prompt=rendered, **SAMPLING)
    messages = [{"role": "user", "content": QUESTION}]
    sampling = {**SAMPLING, "logprobs": True, "top_logprobs": 3}
    chat = await post(smollm2_server, "/v1/chat/completions", messages=messages, **sampling)
    (of_raw,), (of_chat,) = raw["choices"], chat["choices"]
    assert of_raw["text"] == of_chat["message"]["content"] != ""
    assert raw["usage"]["prompt_tokens"] == chat["usage"]["prompt_tokens"]
    assert of_raw["finish_reason"] == of_chat["finish_reason"]
    told = [entry["logprob"] for entry in of_chat["logprobs"]["content"]]
    assert of_raw["logprobs"]["token_logprobs"] == pytest.approx(told, abs=1e-6)
