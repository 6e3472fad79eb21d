"""A running REST server over the scripted engine, and readers of what it answers."""

import json
from dataclasses import dataclass
from typing import Any

import httpx

from support.fake_engine import FakeEngine, answer
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService

TIMEOUT_S = 20
MAX_BODY_BYTES = 4096
MODEL = "org/tiny"
PATH = "/v1/chat/completions"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "seed": 7}
TOKENS = (300, 301, 302)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Api:
    """A running REST server and what stands behind it."""

    engine: FakeEngine
    service: ChatService
    http: httpx.AsyncClient

    async def chat(self, **fields: object) -> Json:
        answered = await self.http.post(PATH, json={**CHAT, **fields})
        assert answered.status_code == 200, answered.text
        body: Json = answered.json()
        return body

    async def refusal(self, status: int, **fields: object) -> Json:
        """The error object of a request that is refused."""
        answered = await self.http.post(PATH, json={**CHAT, **fields})
        assert answered.status_code == status, answered.text
        return error_of(answered)

    async def stream_lines(self, **fields: object) -> list[str]:
        """The non-empty lines of a streamed answer."""
        async with self.http.stream("POST", PATH, json={**CHAT, "stream": True, **fields}) as answered:
            assert answered.status_code == 200
            assert answered.headers["content-type"].startswith("text/event-stream")
            return [line async for line in answered.aiter_lines() if line]

    async def chunks(self, **fields: object) -> list[Json]:
        """The chunks of a streamed answer that ends well."""
        lines = await self.stream_lines(**fields)
        assert lines.pop() == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines if line != ": keepalive"]


def says(api: Api, model: ServedModel, text: str) -> None:
    """From now on the model gives this text."""
    api.engine.script = answer([*model.tokenizer.encode_text(text, add_special_tokens=False), 2])


def error_of(answered: httpx.Response) -> Json:
    """The error object, which always has all four keys."""
    assert answered.headers["content-type"] == "application/json"
    error: Json = answered.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def choices_of(body: Json) -> list[Json]:
    choices = body["choices"]
    assert isinstance(choices, list)
    return choices
