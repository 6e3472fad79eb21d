"""One request and seed, four ways: the unary call, the folded stream, REST JSON and folded server-sent events."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from e2e.conftest import CALL_TIMEOUT_S, MODEL, Serving
from tokenwire.v1.chat_pb2 import ChatCompletion, FinishReason
from tokenwire_client import ChatParameters

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

REQUESTS: dict[str, tuple[str, ChatParameters]] = {
    "sampled": ("Name a colour and a fruit.", {"temperature": 0.8, "top_p": 0.95}),
    "log-probabilities": ("Say hello.", {"logprobs": True, "top_logprobs": 3}),
    "three choices": ("Invent a name for a cat.", {"n": 3, "temperature": 1.3, "logprobs": True}),
    "stop": ("Count from one to ten: 1, 2, 3,", {"temperature": 0, "stop": [" 7", "eight"]}),
    "unicode": ("Repeat: 🎉🙂 naïve 你好", {"temperature": 1.5, "min_p": 0.01, "ignore_eos": True}),
    "greedy": ("What is the capital of France?", {"temperature": 0, "frequency_penalty": 0.5}),
}


@dataclass(frozen=True, slots=True)
class Logprob:
    token: str
    logprob: float
    data: bytes
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    content: str
    finish_reason: str
    logprobs: tuple[Logprob, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What every way tells."""

    model: str
    system_fingerprint: str
    choices: tuple[Choice, ...]
    usage: tuple[int, int, int, int]
    """Prompt, completion, total and cached tokens."""


def of_contract(completion: ChatCompletion) -> Answer:
    choices = []
    for choice in completion.choices:
        logprobs = tuple(
            Logprob(
                entry.token,
                entry.logprob,
                entry.bytes,
                tuple((top.token, top.logprob) for top in entry.top_logprobs),
            )
            for entry in choice.logprobs
        )
        reason = FinishReason.Name(choice.finish_reason).removeprefix("FINISH_REASON_").lower()
        choices.append(Choice(choice.content, reason, logprobs))
    usage = completion.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.cached_prompt_tokens)
    return Answer(completion.model, completion.system_fingerprint, tuple(choices), counts)


def of_json(body: dict[str, Any], *, part: str) -> Answer:
    """`part` is `message` or `delta`; of several entries for one choice, the later one goes on with the text."""
    choices: dict[int, Choice] = {}
    for choice in body["choices"]:
        before = choices.get(choice["index"], Choice("", "", ()))
        choices[choice["index"]] = Choice(
            before.content + (choice[part].get("content") or ""),
            choice["finish_reason"] or before.finish_reason,
            before.logprobs + tuple(_logprob(entry) for entry in (choice["logprobs"] or {}).get("content") or ()),
        )
    usage = body["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    counts = (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"], cached)
    in_order = tuple(choices[index] for index in sorted(choices))
    return Answer(body["model"], body["system_fingerprint"], in_order, counts)


def of_chunks(chunks: Iterable[dict[str, Any]]) -> Answer:
    *parts, last = chunks
    assert last["choices"] == []
    return of_json({**last, "choices": [choice for chunk in parts for choice in chunk["choices"]]}, part="delta")


def _logprob(entry: dict[str, Any]) -> Logprob:
    top = tuple((other["token"], other["logprob"]) for other in entry["top_logprobs"])
    return Logprob(entry["token"], entry["logprob"], bytes(entry["bytes"]), top)


@pytest.mark.parametrize("name", REQUESTS)
async def test_stream_unary_json_and_events_tell_the_same(smollm2_server: Serving, name: str) -> None:
    prompt, parameters = REQUESTS[name]
    parameters = {**parameters, "seed": 11, "max_completion_tokens": 24}
    body = {**parameters, "model": MODEL, "messages": [{"role": "user", "content": prompt}]}
    client = smollm2_server.client
    await client.chat(prompt, max_completion_tokens=1)  # from here on the prompt is in the prefix cache

    unary = of_contract(await client.chat(prompt, **parameters))
    updates = [update async for update in client.stream(prompt, **parameters)]
    async with httpx.AsyncClient(base_url=smollm2_server.url, timeout=CALL_TIMEOUT_S, verify=False) as http:
        whole = await http.post("/v1/chat/completions", json=body)
        streaming = {**body, "stream": True, "stream_options": {"include_usage": True}}
        streamed = await http.post("/v1/chat/completions", json=streaming)
    *data, done = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line.startswith("data: ")]

    assert len(unary.choices) == parameters.get("n", 1)
    assert all(choice.content for choice in unary.choices)
    assert of_contract(updates[-1].completion) == unary
    assert of_json(whole.json(), part="message") == unary
    assert of_chunks(json.loads(chunk) for chunk in data) == unary
    assert done == "[DONE]"
