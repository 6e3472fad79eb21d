"""The rules of the OpenAI API that other tests of REST do not show, each for answers and streams."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from shutil import copytree

import httpx
import openai
import pytest

from support.fake_engine import FakeEngine, Step, make_info, output
from support.rest_api import CHAT, MODEL, PATH, TIMEOUT_S, TOKENS, Api, Json, choices_of, error_of
from support.serving import PORTS, serving
from tokenwire.chat.model import ServedModel
from tokenwire.config import GatewayConfig
from tokenwire.engine.protocol import FinishReason, TokenLogprobs
from tokenwire.gateway.gateway import Gateway

BODIES: Mapping[str, Json] = {
    PATH: CHAT,
    "/v1/completions": {"model": MODEL, "prompt": "hello", "seed": 7},
    "/v1/responses": {"model": MODEL, "input": "hello"},
}


def said(content: object) -> Json:
    return {"messages": [{"role": "user", "content": content}]}


# 1. Every error is an object with four keys.


async def test_a_broken_body_is_a_plain_error(api: Api) -> None:
    broken = ((b"{", 400), (b'"stream"', 400), (b'{"stream": tru}', 400), (b'{"stream": true}' + b" " * 5000, 413))
    for path, (content, status) in product(BODIES, broken):
        answered = await api.http.post(path, content=content, headers={"accept": "text/event-stream"})
        assert answered.status_code == status
        assert error_of(answered)["param"] is None


async def test_an_unknown_model_is_not_found(api: Api) -> None:
    for path, stream in product(BODIES, (False, True)):
        answered = await api.http.post(path, json={**BODIES[path], "model": "other", "stream": stream})
        error = error_of(answered)
        assert (answered.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


async def test_another_method_says_which_is_allowed(api: Api) -> None:
    for path, method in product(BODIES, ("PUT", "DELETE", "PATCH")):
        answered = await api.http.request(method, path, json=BODIES[path])
        assert (answered.status_code, error_of(answered)["code"]) == (405, "method_not_supported")
        assert answered.headers["allow"] == "POST"


# 3. Codes, and the path of what is wrong.


BROKEN: Sequence[tuple[Json, str, str]] = (
    (said(3), "messages[0].content", "invalid_type"),
    ({"messages": [{"role": "boss", "content": "a"}]}, "messages[0].role", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
        "messages[0].content[0].type",
        "missing_required_parameter",
    ),
    ({"temperature": 2.01}, "temperature", "decimal_above_max_value"),
    ({"presence_penalty": -2.01}, "presence_penalty", "decimal_below_min_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"seed": 2**63}, "seed", "integer_above_max_value"),
    ({"user": "a" * 257}, "user", "string_above_max_length"),
    ({"metadata": {"a": "b" * 513}}, "metadata[a]", "string_above_max_length"),
    ({"metadata": {str(key): "" for key in range(17)}}, "metadata", "object_above_max_properties"),
    ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    ({"messages": []}, "messages", "empty_array"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens", "invalid_parameter_combination"),
    ({"top_logprobs": 1}, "top_logprobs", "invalid_parameter_combination"),
    ({"audio": {"voice": "alloy"}}, "audio", "unsupported_parameter"),
    ({"logit_bias": {"9": 101}}, "logit_bias[9]", "decimal_above_max_value"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
)


async def test_what_is_wrong_has_its_code_and_its_path(api: Api) -> None:
    for (fields, param, code), stream in product(BROKEN, (False, True)):
        error = await api.refusal(400, stream=stream, **fields)
        assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
        assert f"`{param.partition('[')[0]}" in error["message"]


async def test_stream_options_are_for_streams(api: Api) -> None:
    error = await api.refusal(400, stream_options={"include_usage": True})
    assert (error["param"], error["code"]) == ("stream_options", "invalid_parameter_combination")


# 4. null is absent, and edges of ranges are legal.


LEGAL: Sequence[Json] = (
    {"top_p": 0},
    {"temperature": 0, "n": 2},
    {"stop": []},
    {"seed": -1},
    {"user": ""},
    {"logit_bias": {}},
    {"metadata": {}},
    {"tools": []},
    {"temperature": 2, "frequency_penalty": -2, "presence_penalty": 2},
)


async def test_edges_are_legal(api: Api) -> None:
    for fields, stream in product(LEGAL, (False, True)):
        answered = await api.http.post(PATH, json={**CHAT, **fields, "stream": stream})
        assert answered.status_code == 200, answered.text


async def test_null_is_absent_for_every_optional_field(api: Api) -> None:
    schemas = (await api.http.get("/openapi.json")).json()["components"]["schemas"]
    for path, name in ((PATH, "ChatRequest"), ("/v1/completions", "CompletionRequest")):
        nulls = dict.fromkeys(properties_of(schemas[name], schemas))
        assert {"temperature", "stop", "stream_options"} <= set(nulls)
        for stream in (None, True):
            answered = await api.http.post(path, json={**nulls, **BODIES[path], "stream": stream})
            assert answered.status_code == 200, answered.text
            assert "x-tokenwire-ignored-fields" not in answered.headers


def properties_of(schema: Json, schemas: Json) -> set[str]:
    """Names of the members, those of what it consists of among them."""
    whole = (schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part for part in schema.get("allOf", ()))
    return {*schema.get("properties", {}), *(name for part in whole for name in properties_of(part, schemas))}


# 7. Streams.


async def test_roles_come_before_anything_else_and_done_is_the_end(api: Api) -> None:
    lines = [line for line in await api.stream_lines(n=3) if line != ": keepalive"]
    assert lines.count("data: [DONE]") == 1
    assert lines[-1] == "data: [DONE]"
    chunks = await api.chunks(n=3)
    assert [choices_of(chunk)[0]["delta"].get("role") for chunk in chunks[:3]] == ["assistant"] * 3
    assert not any("role" in choices_of(chunk)[0]["delta"] for chunk in chunks[3:])


# 8. Log-probabilities.


async def test_no_infinity_reaches_json(api: Api) -> None:
    impossible = TokenLogprobs(float("-inf"), ((9, float("-inf")),))
    api.engine.script = [[output(TOKENS[0], logprobs=(impossible,), finish=FinishReason.LENGTH)]]
    whole = choices_of(await api.chat(logprobs=True, top_logprobs=1))[0]["logprobs"]["content"]
    assert (whole[0]["logprob"], whole[0]["top_logprobs"][0]["logprob"]) == (-9999.0, -9999.0)
    chunks = await api.chunks(logprobs=True, top_logprobs=1)
    logprobs = (choice["logprobs"] for chunk in chunks for choice in choices_of(chunk))
    assert [entry for part in logprobs if part for entry in part["content"]] == whole


# 11. What the template gets.


async def test_parts_are_one_text_and_developer_is_system(api: Api) -> None:
    for role, content in (
        ("system", "ab"),
        ("developer", "ab"),
        ("developer", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
    ):
        await api.chat(messages=[{"role": role, "content": content}])
        await api.chunks(messages=[{"role": role, "content": content}])
    assert len({request.prompt_token_ids for request in api.engine.requests}) == 1
    assert len(api.engine.requests) == 6


# 12. Fields that nobody knows.


async def test_unknown_fields_are_named_in_a_header(api: Api) -> None:
    for path, stream in product(BODIES, (False, True)):
        answered = await api.http.post(path, json={**BODIES[path], "stream": stream, "mood": "good"})
        assert answered.status_code == 200
        assert answered.headers["x-tokenwire-ignored-fields"] == "mood"


@pytest.mark.parametrize("behind_gateway", [False, True])
async def test_the_strict_switch_refuses_them(engine: FakeEngine, behind_gateway: bool) -> None:
    async with AsyncExitStack() as stack:
        strict = replace(PORTS, strict_fields=True)
        server = await stack.enter_async_context(serving(engine, limits=strict))
        port = server.http_port
        if behind_gateway:
            gateway = Gateway(GatewayConfig(target=f"127.0.0.1:{server.port}", http_port=0, strict_fields=True))
            stack.push_async_callback(gateway.stop)
            await gateway.start()
            port = gateway.port
        url = f"http://127.0.0.1:{port}"
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, verify=False))
        for (path, body), stream in product({**BODIES, "/tokenize": {"prompt": "a"}}.items(), (False, True)):
            told = {**body, "model": "tiny"} if path == "/tokenize" else {**body, "model": "tiny", "stream": stream}
            assert (await http.post(path, json=told)).status_code == 200
            refused = await http.post(path, json={**told, "mood": 1})
            error = error_of(refused)
            assert (refused.status_code, error["param"], error["code"]) == (400, "mood", "unknown_parameter")


async def test_the_sdk_may_send_extensions(api: Api, sdk: openai.AsyncOpenAI) -> None:
    extensions = {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.1, "ignore_eos": True, "stop_token_ids": [9]}
    raw = await sdk.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], extra_body={**extensions, "min_tokens": 1}
    )
    assert "x-tokenwire-ignored-fields" not in raw.headers
    assert raw.headers["x-request-id"]
    (request,) = api.engine.requests
    assert (request.sampling.top_k, request.sampling.ignore_eos, request.sampling.min_tokens) == (3, True, 1)


# 13. Defaults.


@pytest.mark.parametrize(("generation_config", "temperature"), [(False, 1.0), (True, 0.5)])
async def test_defaults_are_the_apis_unless_the_operator_says_so(
    loading: Api, tiny_folder: Path, tmp_path: Path, generation_config: bool, temperature: float
) -> None:
    folder = copytree(tiny_folder, tmp_path / "model")
    (folder / "generation_config.json").write_text('{"temperature": 0.5, "top_k": 7}')
    loading.service.open(ServedModel.load(MODEL, make_info(folder), generation_config=generation_config))
    for path, stream in product(BODIES, (False, True)):
        assert (await loading.http.post(path, json={**BODIES[path], "stream": stream})).status_code == 200
        assert loading.engine.requests[-1].sampling.temperature == temperature
    assert (await loading.chat(temperature=0.25))["tokenwire"]["parameters"]["temperature"] == 0.25


# 14. Every answer has an id.


async def test_every_answer_has_the_id_of_its_request(api: Api) -> None:
    mine = {"x-request-id": "mine-1"}
    answers = [
        await api.http.get("/v1/models", headers=mine),
        await api.http.get("/nowhere", headers=mine),
        await api.http.put(PATH, headers=mine),
        await api.http.post(PATH, content=b"{", headers=mine),
        await api.http.post(PATH, content=b" " * 5000, headers=mine),
        await api.http.post(PATH, json=CHAT, headers=mine),
        await api.http.post(PATH, json={**CHAT, "stream": True}, headers=mine),
    ]
    api.engine.script = [ValueError("a defect")]
    answers.append(await api.http.post(PATH, json=CHAT, headers=mine))
    assert [answered.status_code for answered in answers] == [200, 404, 405, 400, 413, 200, 200, 500]
    assert {answered.headers["x-request-id"] for answered in answers} == {"mine-1"}


# 15. Quiet streams, and clients that go away.


async def test_quiet_streams_of_every_api_carry_comments(api: Api) -> None:
    for path in BODIES:
        go_on = asyncio.Event()
        api.engine.script = [[output(TOKENS[0])], go_on, [output(TOKENS[1], finish=FinishReason.STOP)]]
        body = {**BODIES[path], "stream": True}
        async with asyncio.timeout(TIMEOUT_S), api.http.stream("POST", path, json=body) as answered:
            lines = answered.aiter_lines()
            while await anext(lines) != ": keepalive":
                pass
            go_on.set()
            assert [line async for line in lines if line][-1] != ": keepalive"


async def test_a_client_that_goes_away_ends_the_generation(api: Api) -> None:
    for num_gone, (path, stream) in enumerate(product(BODIES, (False, True)), start=1):
        reached = asyncio.Event()
        api.engine.script = until_cancelled(reached)
        call = asyncio.create_task(api.http.post(path, json={**BODIES[path], "stream": stream}))
        await asyncio.wait_for(reached.wait(), TIMEOUT_S)
        call.cancel()
        await asyncio.wait_for(api.service.wait_idle(), TIMEOUT_S)
        assert len(api.engine.aborts) == num_gone


def until_cancelled(reached: asyncio.Event) -> Callable[[object], Sequence[Step]]:
    """A script that tells when it begins, and never ends."""

    def script(request: object) -> Sequence[Step]:
        reached.set()
        return [[output(TOKENS[0])], asyncio.Event()]

    return script
