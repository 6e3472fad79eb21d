"""Calls of /v1/responses on a running server, and what they answer."""

import json

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from support.rest_api import MODEL, Api, Json

PATH = "/v1/responses"
BODY: Json = {"model": MODEL, "input": "hello", "seed": 7}

_EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


async def respond(api: Api, **fields: object) -> Json:
    """The whole answer; OpenAI's types accept it."""
    answered = await api.http.post(PATH, json={**BODY, **fields})
    assert answered.status_code == 200, answered.text
    body: Json = answered.json()
    Response.model_validate(body)
    return body


async def stream(api: Api, **fields: object) -> list[Json]:
    """The events of a streamed answer: each has its own name, OpenAI's types accept it, and they are numbered."""
    async with api.http.stream("POST", PATH, json={**BODY, "stream": True, **fields}) as answered:
        assert answered.status_code == 200
        assert answered.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in answered.aiter_lines() if line and line != ": keepalive"]
    names, data = lines[::2], lines[1::2]
    events = [json.loads(line.removeprefix("data: ")) for line in data]
    assert names == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [_EVENTS.validate_python(event).type for event in events] == [event["type"] for event in events]
    return events


def without_ids(value: object) -> object:
    """What two answers to one request have in common: without ids and times."""
    if isinstance(value, dict):
        varying = ("id", "call_id", "created_at", "completed_at")
        return {name: without_ids(item) for name, item in value.items() if name not in varying}
    return [without_ids(item) for item in value] if isinstance(value, list) else value
