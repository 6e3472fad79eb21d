"""The OpenAPI document: what it says is what is served."""

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.fake_engine import FakeEngine
from support.rest_api import CHAT, MODEL, Api
from tokenwire.chat.service import ChatService
from tokenwire.chat.validation.request import RANGES
from tokenwire.rest.app import create_routes
from tokenwire.rest.body import read_json_object
from tokenwire.rest.ignored import ignored_fields_headers
from tokenwire.rest.openapi import openapi_document
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

DOCUMENT: Any = openapi_document()
SCHEMAS = DOCUMENT["components"]["schemas"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

# What a chat request says otherwise in JSON, or cannot say.
NOT_IN_JSON = {"raw_prompt"}
NOT_IN_THE_CONTRACT = {"max_tokens", "priority", "stream", "stream_options"}


def validator(name: str) -> Draft202012Validator:
    Draft202012Validator.check_schema(SCHEMAS[name])
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def properties(name: str) -> dict[str, Any]:
    """Those of a schema and of what it is made of."""
    schema = SCHEMAS[name]
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        found |= properties(part["$ref"].rpartition("/")[2])
    return found


def test_every_schema_that_is_named_is_there() -> None:
    named = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert named == set(SCHEMAS)


def test_every_route_is_described_and_the_reverse() -> None:
    served = create_routes(
        ChatService(FakeEngine(), max_queue=1, max_request_bytes=1),
        read_body=partial(read_json_object, max_bytes=1),
        unknown_fields=ignored_fields_headers,
        keepalive_s=1,
        metrics=lambda accept: (b"", ""),
    )
    routes = {
        (route.path.replace(":path", ""), method) for route in served for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == routes


def test_a_chat_request_has_the_fields_of_the_contract() -> None:
    fields = {field.name for field in ChatCompletionRequest.DESCRIPTOR.fields}
    assert set(properties("ChatRequest")) == (fields - NOT_IN_JSON) | NOT_IN_THE_CONTRACT


def test_ranges_are_those_that_are_checked() -> None:
    chat = properties("ChatRequest")
    for name, allowed in RANGES.items():
        told = chat[name].get("minimum"), chat[name].get("exclusiveMinimum"), chat[name].get("maximum")
        assert told == (allowed.low, allowed.above, allowed.high), name


async def test_the_document_is_served(api: Api) -> None:
    assert (await api.http.get("/openapi.json")).json() == DOCUMENT


@pytest.mark.parametrize(
    ("path", "body", "answer", "chunk"),
    [
        ("/v1/chat/completions", CHAT, "ChatCompletion", "ChatCompletionChunk"),
        (
            "/v1/chat/completions",
            {**CHAT, "n": 2, "logprobs": True, "top_logprobs": 2, "stop": "x", "logit_bias": {"7": -100}},
            "ChatCompletion",
            "ChatCompletionChunk",
        ),
        ("/v1/chat/completions", {**CHAT, "tools": [TOOL]}, "ChatCompletion", "ChatCompletionChunk"),
        ("/v1/completions", {"model": MODEL, "prompt": "a"}, "Completion", "CompletionChunk"),
        ("/v1/completions", {"model": MODEL, "prompt": [1, 2], "logprobs": 2}, "Completion", "CompletionChunk"),
        ("/v1/responses", {"model": MODEL, "input": "a"}, "Response", "ResponseEvent"),
        ("/tokenize", {"model": MODEL, "prompt": "a"}, "Tokens", None),
        ("/tokenize", {"model": MODEL, "messages": CHAT["messages"]}, "Tokens", None),
        ("/detokenize", {"model": MODEL, "tokens": [3]}, "DetokenizedText", None),
    ],
)
async def test_requests_and_answers_are_as_described(
    api: Api, path: str, body: Mapping[str, object], answer: str, chunk: str | None
) -> None:
    request = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    validator(request.rpartition("/")[2]).validate(body)
    answered = await api.http.post(path, json=body)
    assert answered.status_code == 200, answered.text
    validator(answer).validate(answered.json())
    if chunk is not None:
        streamed = await api.http.post(path, json={**body, "stream": True})
        data = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: {")]
        assert len(data) > 2
        for line in data:
            validator(chunk).validate(json.loads(line))


async def test_errors_and_lookups_are_as_described(api: Api) -> None:
    validator("Error").validate((await api.http.post("/v1/chat/completions", json={})).json())
    validator("ModelList").validate((await api.http.get("/v1/models")).json())
    validator("Model").validate((await api.http.get(f"/v1/models/{MODEL}")).json())
    stored = await api.http.post("/v1/chat/completions", json={**CHAT, "store": True})
    read = await api.http.get(f"/v1/chat/completions/{stored.json()['id']}")
    validator("StoredChatCompletion").validate(read.json())
    validator("Health").validate((await api.http.get("/health")).json())
