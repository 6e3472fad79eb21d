"""Every kind of answer of the REST layer against OpenAI's published schema."""

import json

import pytest
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from openai.types.shared import ErrorObject

from support.openai_schema import must_be_event, must_conform
from support.responses_api import respond, stream
from support.rest_api import CHAT, MODEL, PATH, Api, Json, choices_of, error_of, says
from tokenwire.chat.model import ServedModel

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
FUNCTION: Json = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOL: Json = {"type": "function", "function": FUNCTION}
CALLS: Json = {"tools": [TOOL], "tool_choice": "required"}

CHATS = [
    pytest.param("It is warm.", {}, id="plain"),
    pytest.param("It is warm.", {"n": 3, "seed": 1}, id="several choices"),
    pytest.param("It is warm.", {"logprobs": True, "top_logprobs": 3}, id="log-probabilities"),
    pytest.param("It is warm.", {"max_completion_tokens": 2}, id="cut"),
    pytest.param("It is warm.", {"service_tier": "flex", "prompt_logprobs": 1}, id="service tier"),
    pytest.param(f"I look.\n{CALL}\n{CALL}", {"tools": [TOOL]}, id="text and calls"),
    pytest.param(CALL, {**CALLS, "logprobs": True}, id="a required call"),
]


@pytest.mark.parametrize(("text", "fields"), CHATS)
async def test_a_chat_completion_is_one_and_so_is_every_chunk(
    api: Api, rest_model: ServedModel, text: str, fields: Json
) -> None:
    says(api, rest_model, text)
    must_conform(await api.chat(**fields), ChatCompletion)
    chunks = await api.chunks(**fields, stream_options={"include_usage": True})
    assert len(chunks) > 3
    for chunk in chunks:
        must_conform(chunk, ChatCompletionChunk)


@pytest.mark.parametrize(
    "fields", [{}, {"prompt": ["a", "b"], "n": 2}, {"logprobs": 2}, {"logprobs": 0, "echo": True}, {"max_tokens": 0}]
)
async def test_a_legacy_completion_is_one_and_so_is_every_chunk(api: Api, fields: Json) -> None:
    asked = {"model": MODEL, "prompt": "Hello", "seed": 7, **fields}
    whole = await api.http.post("/v1/completions", json=asked)
    assert whole.status_code == 200, whole.text
    streamed = (await api.http.post("/v1/completions", json={**asked, "stream": True})).text
    chunks = [line.removeprefix("data: ") for line in streamed.splitlines() if line.startswith("data: {")]
    assert chunks
    for text in (whole.text, *chunks):
        must_conform(without_undocumented_nulls(json.loads(text)), Completion)


def without_undocumented_nulls(body: Json) -> Json:
    """OpenAI's own answers have null for the finish reason of a choice that goes on, and for the probabilities of the
    first token of a prompt. Its document does not know of that."""
    for choice in choices_of(body):
        choice["finish_reason"] = choice["finish_reason"] or "stop"
        if choice["logprobs"] and choice["logprobs"]["token_logprobs"][:1] == [None]:
            choice["logprobs"]["token_logprobs"][0] = 0.0
            choice["logprobs"]["top_logprobs"][0] = {}
    return body


LOGPROBS: Json = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
RESPONSES = [
    pytest.param("It is warm.", {}, id="plain"),
    pytest.param("It is warm.", {"max_output_tokens": 2}, id="cut"),
    pytest.param("It is warm.", LOGPROBS, id="log-probabilities"),
    pytest.param(f"I look.\n{CALL}", {"tools": [{"type": "function", **FUNCTION}]}, id="text and a call"),
]


@pytest.mark.parametrize(("text", "fields"), RESPONSES)
async def test_a_response_is_one_and_so_is_every_event(
    api: Api, rest_model: ServedModel, text: str, fields: Json
) -> None:
    says(api, rest_model, text)
    must_conform(await respond(api, **fields), Response)
    events = await stream(api, **fields)
    for event in events:
        must_be_event(event)
    for event in (events[0], events[-1]):
        must_conform(event["response"], Response)


async def test_the_models_are_models(api: Api) -> None:
    listed = (await api.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    must_conform(model, Model)
    assert (await api.http.get(f"/v1/models/{MODEL}")).json() == model


async def test_errors_are_errors(api: Api) -> None:
    for path, body in [
        (PATH, {**CHAT, "temperature": 3}),
        (PATH, {**CHAT, "model": "unknown", "stream": True}),
        (PATH, []),
        ("/v1/completions", {"model": MODEL}),
        ("/v1/responses", {"model": MODEL, "input": 1}),
        ("/v1/embeddings", {}),
        ("/v1/models", {}),
    ]:
        must_conform(error_of(await api.http.post(path, json=body)), ErrorObject)
