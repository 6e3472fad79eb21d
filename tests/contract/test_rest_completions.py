"""Legacy completions, in the server and through the gateway."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import openai
import pytest
from openai.types import Completion
from transformers import AutoTokenizer

from support.fake_engine import Step, answer, output
from support.rest_api import MODEL, TIMEOUT_S, TOKENS, Api, Json, error_of
from support.serving import until
from tokenwire.engine.protocol import FinishReason, GenerationRequest, TokenLogprobs

PATH = "/v1/completions"
PROMPT = "The quick naïve 🙂"


async def complete(api: Api, **fields: object) -> Json:
    answered = await api.http.post(PATH, json={"model": MODEL, "prompt": PROMPT, "seed": 7, **fields})
    assert answered.status_code == 200, answered.text
    body: Json = answered.json()
    return body


async def chunks(api: Api, **fields: object) -> list[Json]:
    body = {"model": MODEL, "prompt": PROMPT, "seed": 7, "stream": True, **fields}
    async with api.http.stream("POST", PATH, json=body) as answered:
        assert answered.status_code == 200, await answered.aread()
        lines = [line async for line in answered.aiter_lines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def folded(streamed: Sequence[Json]) -> list[Json]:
    """The choices of a stream, as the unary answer has them."""
    choices: dict[int, Json] = {}
    for chunk in streamed:
        for part in chunk["choices"]:
            choice = choices.setdefault(
                part["index"], {"index": part["index"], "text": "", "logprobs": None, "finish_reason": None}
            )
            choice["text"] += part["text"]
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
            if part["logprobs"]:
                choice["logprobs"] = choice["logprobs"] or {name: [] for name in part["logprobs"]}
                for name, values in part["logprobs"].items():
                    choice["logprobs"][name] += values
    return [choices[index] for index in sorted(choices)]


def scored(request: GenerationRequest) -> Sequence[Step]:
    """Gives the tokens of the prompt log-probabilities, too; each choice is more likely than the one before it."""
    steps: list[Step] = []
    if request.prompt_logprobs is not None:
        each = TokenLogprobs(-1.0, ((5, -0.1),))
        steps.append([output(prompt_logprobs=(each,) * (len(request.prompt_token_ids) - 1))])
    asked = request.sampling.top_logprobs is not None
    given = TOKENS[: request.sampling.max_tokens]
    for position, token in enumerate(given):
        end = FinishReason.LENGTH if position == len(given) - 1 else None
        outputs = []
        for index in range(request.n):
            logprobs = (TokenLogprobs(index - 3.0, ((token, index - 3.0),)),) * asked
            outputs.append(output(token, index=index, finish=end, logprobs=logprobs))
        steps.append(outputs)
    return steps


async def test_an_answer_has_the_shape_of_the_openai_api(api: Api) -> None:
    body = await complete(api, n=2)
    extension = body.pop("tokenwire")
    parsed = Completion.model_validate(body, strict=True)
    assert parsed.model_extra == {"service_tier": "default"}
    assert parsed.object == "text_completion"
    assert parsed.id.startswith("cmpl-")
    assert [choice.index for choice in parsed.choices] == [0, 1]
    assert extension["parameters"]["seed"] == 7
    usage = body["usage"]
    assert usage["completion_tokens"] == 2 * len(TOKENS)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_prompt_reaches_the_engine_as_it_stands(api: Api, tiny_folder: Path) -> None:
    ids = AutoTokenizer.from_pretrained(tiny_folder)(PROMPT)["input_ids"]
    for prompt in (PROMPT, ids, [PROMPT], [ids]):
        await complete(api, prompt=prompt)
        assert api.engine.requests[-1].prompt_token_ids == tuple(ids)
    assert api.engine.requests[0].sampling.max_tokens == 16


async def test_every_parameter_reaches_the_engine(api: Api) -> None:
    await complete(
        api,
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        n=2,
        stop=["x"],
        frequency_penalty=1,
        presence_penalty=-1,
        logit_bias={"7": -100},
        top_k=3,
        user="u",
    )
    [request] = api.engine.requests
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k) == (5, 0.5, 0.9, 3)
    assert (sampling.frequency_penalty, sampling.presence_penalty, request.n) == (1, -1, 2)


async def test_several_prompts_are_numbered_prompt_by_prompt(api: Api) -> None:
    api.engine.script = lambda request: answer([TOKENS[0]] * len(request.prompt_token_ids))(request)
    prompts = [[9], "hello there"]
    body = await complete(api, prompt=prompts, n=2)
    assert [choice["index"] for choice in body["choices"]] == list(range(4))
    texts = [choice["text"] for choice in body["choices"]]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    assert body["usage"]["prompt_tokens"] == sum(len(each.prompt_token_ids) for each in api.engine.requests)
    assert folded(await chunks(api, prompt=prompts, n=2)) == body["choices"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3},
        {"logprobs": 2},
        {"echo": True},
        {"echo": True, "logprobs": 1, "n": 2},
        {"echo": True, "max_tokens": 0},
    ],
)
async def test_a_folded_stream_is_the_unary_answer(api: Api, fields: Json) -> None:
    api.engine.script = scored
    streamed = await chunks(api, **fields, stream_options={"include_usage": True})
    body = await complete(api, **fields)
    assert folded(streamed) == body["choices"]
    *others, last = streamed
    assert (last["choices"], last["usage"]) == ([], body["usage"])
    assert all(chunk["usage"] is None for chunk in others)
    assert len({chunk["id"] for chunk in streamed}) == 1


async def test_an_echo_is_the_prompt_before_the_answer(api: Api) -> None:
    plain = (await complete(api))["choices"][0]["text"]
    assert (await complete(api, echo=True))["choices"][0]["text"] == PROMPT + plain


async def test_a_prompt_is_scored_without_an_answer(api: Api) -> None:
    api.engine.script = scored
    body = await complete(api, echo=True, logprobs=1, max_tokens=0)
    [choice] = body["choices"]
    logprobs = choice["logprobs"]
    num_tokens = body["usage"]["prompt_tokens"]
    assert (choice["text"], choice["finish_reason"]) == (PROMPT, "length")
    assert {len(column) for column in logprobs.values()} == {num_tokens}
    assert logprobs["token_logprobs"] == [None] + [-1.0] * (num_tokens - 1)
    assert (logprobs["top_logprobs"][0], len(logprobs["top_logprobs"][1])) == (None, 2)
    assert body["usage"]["completion_tokens"] == 0


async def test_offsets_say_where_in_the_text_a_token_begins(api: Api) -> None:
    api.engine.script = scored
    [choice] = (await complete(api, echo=True, logprobs=0))["choices"]
    tokens, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    assert offsets[0] == 0
    assert offsets == sorted(offsets)
    for token, offset in zip(tokens, offsets, strict=True):
        if not token.startswith("bytes:"):
            assert choice["text"][offset : offset + len(token)] == token
    assert any(token.startswith("bytes:\\x") for token in tokens)


async def test_best_of_gives_the_most_likely(api: Api) -> None:
    api.engine.script = scored
    body = await complete(api, best_of=3, n=1)
    assert api.engine.requests[0].n == 3
    assert [choice["index"] for choice in body["choices"]] == [0]
    assert body["choices"][0]["logprobs"] is None
    assert body["usage"]["completion_tokens"] == 3 * len(TOKENS)
    [best] = (await complete(api, best_of=3, n=1, logprobs=0))["choices"]
    assert best["logprobs"]["token_logprobs"] == [-1.0] * len(TOKENS)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": 3}, "prompt", "invalid_type"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": ["a", 3]}, "prompt[1]", "invalid_type"),
        ({"prompt": [1, "a"]}, "prompt[1]", "invalid_type"),
        ({"prompt": [1, 500]}, "prompt[1]", "invalid_value"),
        ({"prompt": ["a", [500]]}, "prompt[1][0]", "invalid_value"),
        ({"prompt": ["a", []]}, "prompt[1]", "empty_array"),
        ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
        ({"max_tokens": 4000}, "prompt", "context_length_exceeded"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"max_tokens": "2"}, "max_tokens", "invalid_type"),
        ({"logprobs": 21}, "logprobs", "integer_above_max_value"),
        ({"logprobs": 21, "echo": True}, "logprobs", "integer_above_max_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"best_of": 1, "n": 2}, "best_of", "integer_below_min_value"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    ],
)
async def test_what_is_wrong_is_told_by_its_path(api: Api, stream: bool, fields: Json, param: str, code: str) -> None:
    answered = await api.http.post(PATH, json={"model": MODEL, "prompt": PROMPT, "stream": stream, **fields})
    error = error_of(answered)
    assert (answered.status_code, error["param"], error["code"]) == (400, param, code), error
    assert error["message"]


async def test_best_of_is_not_for_streams(api: Api) -> None:
    answered = await api.http.post(PATH, json={"model": MODEL, "prompt": "a", "stream": True, "best_of": 2})
    assert (answered.status_code, error_of(answered)["param"]) == (400, "best_of")


async def test_what_belongs_to_chat_is_named_as_unknown(api: Api) -> None:
    answered = await api.http.post(PATH, json={"model": MODEL, "prompt": "a", "messages": [], "tools": [], "mood": 1})
    assert set(answered.headers["x-tokenwire-ignored-fields"].split(", ")) == {"messages", "tools", "mood"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_all_its_prompts(api: Api, stream: bool) -> None:
    never = asyncio.Event()
    api.engine.script = [[output(TOKENS[0])], never]

    async def all_came() -> bool:
        return len(api.engine.requests) == 3

    body = {"model": MODEL, "prompt": ["a", "b", "c"], "stream": stream}
    if stream:
        async with api.http.stream("POST", PATH, json=body) as answered:
            assert await anext(answered.aiter_lines())
    else:
        call = asyncio.create_task(api.http.post(PATH, json=body))
        await until(all_came)
        call.cancel()
        await asyncio.wait([call])
    async with asyncio.timeout(TIMEOUT_S):
        await api.service.wait_idle()
    assert len(api.engine.aborts) == 3


async def test_a_fault_of_one_prompt_ends_the_stream_without_done(api: Api) -> None:
    api.engine.script = lambda request: (
        [RuntimeError("secret")] if len(request.prompt_token_ids) == 1 else answer(TOKENS)(request)
    )
    body = {"model": MODEL, "prompt": [[9], [9, 9]], "stream": True}
    async with api.http.stream("POST", PATH, json=body) as answered:
        lines = [line async for line in answered.aiter_lines() if line.startswith("data: ")]
    assert "error" in json.loads(lines[-1].removeprefix("data: "))
    assert "secret" not in "".join(lines)


async def test_the_openai_sdk_reads_answers_and_streams(sdk: openai.AsyncOpenAI) -> None:
    whole = await sdk.completions.create(model=MODEL, prompt=PROMPT, logprobs=1, echo=True)
    assert whole.choices[0].logprobs is not None
    stream = await sdk.completions.create(model=MODEL, prompt=PROMPT, echo=True, stream=True)
    text = "".join([choice.text async for chunk in stream for choice in chunk.choices])
    assert text == whole.choices[0].text
