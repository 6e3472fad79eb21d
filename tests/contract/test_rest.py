"""The REST layer over real sockets: uvicorn, the chat service and the scripted engine; raw HTTP and the OpenAI SDK."""

import asyncio
import json
from collections.abc import Mapping

import openai
import pytest

from support.fake_engine import output
from support.rest_api import CHAT, MAX_BODY_BYTES, MODEL, PATH, TIMEOUT_S, TOKENS, Api, Json, choices_of, error_of
from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import FinishReason, TokenLogprobs
from tokenwire.errors import EngineFaultError


def fold(chunks: list[Json]) -> Json:
    """The unary answer that a stream with usage adds up to."""
    folded: dict[int, Json] = {}
    for chunk in chunks[:-1]:
        (choice,) = choices_of(chunk)
        index, delta, logprobs = choice["index"], choice["delta"], choice["logprobs"]
        assert isinstance(index, int)
        assert isinstance(delta, dict)
        message = {"role": "", "content": "", "refusal": None}
        whole = folded.setdefault(index, {"index": index, "message": message, "logprobs": None})
        whole["message"]["role"] += delta.get("role", "")
        whole["message"]["content"] += delta.get("content", "")
        whole["finish_reason"] = choice["finish_reason"]
        if isinstance(logprobs, dict):
            seen = whole["logprobs"] if isinstance(whole["logprobs"], dict) else {"content": [], "refusal": None}
            whole["logprobs"] = {**seen, "content": seen["content"] + logprobs["content"]}
    first = {**chunks[0], "object": "chat.completion"}
    return {**first, "choices": [folded[index] for index in sorted(folded)], "usage": chunks[-1]["usage"]}


def without_times(body: Json) -> Json:
    return {key: value for key, value in body.items() if key not in ("id", "created")}


async def test_an_answer_has_the_shape_of_the_openai_api(api: Api) -> None:
    body = await api.chat()
    (choice,) = choices_of(body)
    assert set(body) == {
        *("id", "object", "created", "model", "system_fingerprint", "service_tier", "choices", "usage"),
        "tokenwire",
    }
    assert (body["object"], body["model"]) == ("chat.completion", MODEL)
    assert str(body["id"]).startswith("chatcmpl-")
    assert isinstance(body["created"], int)
    assert set(choice) == {"index", "message", "finish_reason", "logprobs"}
    assert choice["message"] == {"role": "assistant", "content": choice["message"]["content"], "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)


async def test_usage_adds_up(api: Api) -> None:
    usage = (await api.chat(n=2))["usage"]
    assert isinstance(usage, dict)
    assert usage["completion_tokens"] == 2 * len(TOKENS)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


async def test_the_parameters_in_force_come_back_with_the_seed(api: Api) -> None:
    extension = (await api.chat(top_k=5))["tokenwire"]
    assert isinstance(extension, dict)
    parameters = extension["parameters"]
    assert (parameters["seed"], parameters["top_k"], parameters["temperature"]) == (7, 5, 1.0)


async def test_every_parameter_reaches_the_engine(api: Api) -> None:
    await api.chat(
        temperature=0.5,
        top_p=0.6,
        top_k=7,
        min_p=0.1,
        frequency_penalty=0.2,
        presence_penalty=0.3,
        repetition_penalty=1.5,
        logit_bias={"9": -5},
        max_tokens=3,
        min_tokens=1,
        stop_token_ids=[11],
        ignore_eos=True,
        logprobs=True,
        top_logprobs=2,
        n=2,
    )
    (request,) = api.engine.requests
    sampling = request.sampling
    assert (request.n, sampling.seed, sampling.max_tokens, sampling.min_tokens) == (2, 7, 3, 1)
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.6, 7, 0.1)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.2, 0.3)
    assert (sampling.repetition_penalty, sampling.logit_bias) == (1.5, ((9, -5.0),))
    assert (sampling.stop_token_ids, sampling.ignore_eos, sampling.top_logprobs) == ((11,), True, 2)


async def test_a_stream_opens_with_roles_and_closes_with_finish_chunks_and_usage(api: Api) -> None:
    chunks = await api.chunks(n=2, stream_options={"include_usage": True})
    openings = [choices_of(chunk)[0] for chunk in chunks[:2]]
    role = {"role": "assistant", "content": "", "refusal": None}
    assert [(choice["index"], choice["delta"]) for choice in openings] == [(0, role), (1, role)]
    finishes = [choices_of(chunk)[0] for chunk in chunks[2:-1] if choices_of(chunk)[0]["finish_reason"]]
    assert [(choice["delta"], choice["finish_reason"]) for choice in finishes] == [({}, "stop")] * 2
    assert choices_of(chunks[-1]) == []
    assert chunks[-1]["usage"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_usage_is_streamed_only_if_asked(api: Api) -> None:
    chunks = await api.chunks()
    assert all(choices_of(chunk) and "usage" not in chunk for chunk in chunks)


async def test_all_chunks_have_the_same_envelope(api: Api) -> None:
    chunks = await api.chunks()
    envelope = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
    assert {tuple(chunk[key] for key in envelope) for chunk in chunks} == {tuple(chunks[0][key] for key in envelope)}
    assert chunks[0]["object"] == "chat.completion.chunk"


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"logprobs": True, "top_logprobs": 2}, {"max_tokens": 2}])
async def test_a_folded_stream_is_the_unary_answer(api: Api, fields: Mapping[str, object]) -> None:
    chunks = await api.chunks(**fields, stream_options={"include_usage": True})
    assert without_times(fold(chunks)) == without_times(await api.chat(**fields))


async def test_log_probabilities_of_the_prompt_come_whole_and_in_a_stream_before_the_answer(api: Api) -> None:
    pieces = [output(prompt_logprobs=(TokenLogprobs(-rank, ((9, -0.5),)),)) for rank in range(1, 3)]
    api.engine.script = [[piece] for piece in (*pieces, output(TOKENS[0], finish=FinishReason.STOP))]
    whole = (await api.chat(prompt_logprobs=1))["prompt_logprobs"]
    assert isinstance(whole, list)
    assert [(entry["logprob"], len(entry["top_logprobs"])) for entry in whole] == [(-1, 1), (-2, 1)]
    _, *chunks = await api.chunks(prompt_logprobs=1)
    streamed = [chunk.get("prompt_logprobs", []) for chunk in chunks]
    assert [entry for entries in streamed if isinstance(entries, list) for entry in entries] == whole
    assert streamed[-1] == []


async def test_the_openai_sdk_reads_an_answer(sdk: openai.AsyncOpenAI) -> None:
    completion = await sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], n=2, logprobs=True, top_logprobs=2, max_tokens=2
    )
    assert [choice.finish_reason for choice in completion.choices] == ["length", "length"]
    logprobs = completion.choices[1].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(token.top_logprobs) for token in logprobs.content] == [2, 2]
    joined = b"".join(bytes(token.bytes or []) for token in logprobs.content)
    assert joined.decode() == completion.choices[1].message.content
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 4


async def test_the_openai_sdk_reads_a_stream(api: Api, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    (choice,) = choices_of(await api.chat())
    assert text == choice["message"]["content"]
    assert chunks[-1].usage is not None


async def test_the_openai_sdk_raises_typed_errors(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.create(model="none", messages=[{"role": "user", "content": "hello"}])
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], temperature=3, stream=True
        )
    assert (bad.value.code, bad.value.param) == ("decimal_above_max_value", "temperature")


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({"model": "none"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"messages": []}, 400, "messages", "empty_array"),
        ({"messages": None}, 400, "messages", "missing_required_parameter"),
        ({"temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({"top_p": 1.7}, 400, "top_p", "decimal_above_max_value"),
        ({"max_tokens": 0}, 400, "max_tokens", "integer_below_min_value"),
        ({"max_completion_tokens": 0}, 400, "max_completion_tokens", "integer_below_min_value"),
        ({"max_tokens": 5000}, 400, "messages", "context_length_exceeded"),
        ({"functions": [{}]}, 400, "functions", "unsupported_parameter"),
        ({"tools": [{}]}, 400, "tools[0].function", "missing_required_parameter"),
        ({"response_format": {"type": "xml"}}, 400, "response_format.type", "invalid_value"),
        ({"n": 5}, 400, "n", "integer_above_max_value"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_a_plain_http_error(
    api: Api, stream: bool, fields: Mapping[str, object], status: int, param: str | None, code: str
) -> None:
    answered = await api.http.post(PATH, json={**CHAT, "stream": stream, **fields})
    assert answered.status_code == status
    error = error_of(answered)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


async def test_a_full_queue_says_when_to_come_back(api: Api) -> None:
    go_on = asyncio.Event()
    api.engine.script = [go_on, *([output(TOKENS[0], index=index, finish=FinishReason.STOP)] for index in range(4))]
    async with api.http.stream("POST", PATH, json={**CHAT, "stream": True, "n": 4}) as first:
        refused = await api.http.post(PATH, json=CHAT)
        go_on.set()
        assert (await first.aread()).endswith(b"data: [DONE]\n\n")
    assert (refused.status_code, error_of(refused)["code"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1


async def test_every_violation_is_in_the_message_under_its_name_in_the_body(api: Api) -> None:
    message = error_of(await api.http.post(PATH, json={**CHAT, "max_tokens": 0, "top_p": 2}))["message"]
    assert "`max_tokens`" in str(message)
    assert "`top_p`" in str(message)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b"\xff", 400, None),
        (b'{"n": NaN}', 400, None),
        (b"[" * 4000, 400, None),
        (b" " * (MAX_BODY_BYTES + 1), 413, "request_too_large"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(api: Api, content: bytes, status: int, code: str | None) -> None:
    answered = await api.http.post(PATH, content=content)
    assert (answered.status_code, error_of(answered)["code"]) == (status, code)


async def test_a_body_is_refused_as_soon_as_it_is_too_large(api: Api) -> None:
    url = api.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        writer.write(b"%x\r\n%s\r\n" % (MAX_BODY_BYTES + 1, b" " * (MAX_BODY_BYTES + 1)))  # and no last chunk
        status = await asyncio.wait_for(reader.readline(), TIMEOUT_S)
    finally:
        writer.close()
    assert b" 413 " in status


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown_url"),
        ("GET", "/health/", 404, "unknown_url"),
        ("GET", PATH, 405, "method_not_supported"),
        ("POST", "/v1/models", 405, "method_not_supported"),
        ("GET", "/v1/models/none", 404, "model_not_found"),
    ],
)
async def test_what_is_not_there_gets_the_error_object(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answered = await api.http.request(method, path)
    assert (answered.status_code, error_of(answered)["code"]) == (status, code)


async def test_a_fault_before_the_end_is_an_event_and_no_done(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], EngineFaultError("the engine died")]
    lines = await api.stream_lines()
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert (error["message"], error["code"]) == ("the engine died", "engine_fault")
    assert "data: [DONE]" not in lines


async def test_the_openai_sdk_raises_a_fault_in_a_stream(api: Api, sdk: openai.AsyncOpenAI) -> None:
    api.engine.script = [[output(TOKENS[0])], EngineFaultError("the engine died")]
    stream = await sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
    )
    with pytest.raises(openai.APIError, match="the engine died"):
        [chunk async for chunk in stream]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_text_of_a_defect_never_leaks(api: Api, stream: bool) -> None:
    api.engine.script = [[output(TOKENS[0])], ValueError("a secret")]
    answered = await api.http.post(PATH, json={**CHAT, "stream": stream}, headers={"x-request-id": "mine"})
    assert "internal error" in answered.text
    assert "a secret" not in answered.text
    assert answered.status_code == (200 if stream else 500)
    assert answered.headers["x-request-id"] == "mine"


async def test_a_client_that_leaves_a_stream_frees_the_engine(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], asyncio.Event()]
    async with api.http.stream("POST", PATH, json={**CHAT, "stream": True}) as answered:
        await anext(answered.aiter_lines())
        assert api.service.active == 1
    await asyncio.wait_for(api.service.wait_idle(), TIMEOUT_S)
    assert [index for _, index in api.engine.aborts] == [None]


async def test_a_client_that_leaves_before_the_answer_frees_the_engine(api: Api) -> None:
    reached = asyncio.Event()

    def script(request: object) -> list[asyncio.Event]:
        reached.set()
        return [asyncio.Event()]

    api.engine.script = script
    call = asyncio.create_task(api.http.post(PATH, json=CHAT))
    await asyncio.wait_for(reached.wait(), TIMEOUT_S)
    call.cancel()
    await asyncio.wait_for(api.service.wait_idle(), TIMEOUT_S)
    assert [index for _, index in api.engine.aborts] == [None]


async def test_a_quiet_stream_carries_comments(api: Api) -> None:
    go_on = asyncio.Event()
    api.engine.script = [go_on, [output(TOKENS[0], finish=FinishReason.STOP)]]
    async with asyncio.timeout(TIMEOUT_S), api.http.stream("POST", PATH, json={**CHAT, "stream": True}) as answered:
        lines = answered.aiter_lines()
        while await anext(lines) != ": keepalive":
            pass
        go_on.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_a_request_id_is_echoed_or_made(api: Api) -> None:
    echoed = await api.http.get("/health", headers={"x-request-id": "abc-1"})
    assert echoed.headers["x-request-id"] == "abc-1"
    made = [(await api.http.get("/nowhere", headers={"x-request-id": "a b"})).headers["x-request-id"] for _ in range(2)]
    assert made[0].startswith("req_")
    assert made[0] != made[1]


@pytest.mark.parametrize("stream", [False, True])
async def test_fields_that_nobody_knows_are_named_in_a_header(api: Api, stream: bool) -> None:
    answered = await api.http.post(PATH, json={**CHAT, "stream": stream, "mood": 1, "é\r\nx: y": 2})
    assert answered.status_code == 200
    assert answered.headers["x-tokenwire-ignored-fields"] == "mood, %C3%A9%0D%0Ax%3A%20y"


async def test_models_are_listed_and_found_with_a_slash_raw_or_escaped(api: Api, sdk: openai.AsyncOpenAI) -> None:
    listed = (await api.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"], model["owned_by"]) == (MODEL, "model", "tokenwire")
    assert (await api.http.get("/v1/models/org/tiny")).json() == model
    assert (await api.http.get("/v1/models/org%2Ftiny")).json() == model
    assert (await sdk.models.retrieve(MODEL)).created == model["created"]


@pytest.mark.parametrize("loading", ["server"], indirect=True)
async def test_health_and_refusals_follow_the_life_of_the_service(loading: Api, rest_model: ServedModel) -> None:
    health = await loading.http.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "loading"})
    refused = await loading.http.post(PATH, json=CHAT)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "model_loading")
    assert (await loading.http.get("/v1/models")).json()["data"] == []

    loading.service.open(rest_model)
    health = await loading.http.get("/health")
    assert (health.status_code, health.json()) == (200, {"status": "ok"})

    loading.service.drain()
    health = await loading.http.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "draining"})
    refused = await loading.http.post(PATH, json=CHAT)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) >= 1
