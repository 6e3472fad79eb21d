"""Many streams over REST from an engine that is faster than its readers lose nothing and mix nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from support.rest_api import Json
from support.scripted_engine import PROGRAM, Pace
from support.server import ignore_progress
from support.tiny import make_tokenizer
from tokenwire.config import GatewayConfig, ModelOptions, ServeConfig, ServerConfig
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.gateway.gateway import Gateway
from tokenwire.server import Server

WAIT_S = 120
LETTERS = "tokenwire"
NUM_STREAMS = 64


@pytest.fixture(params=["server", "gateway"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """REST in the server's process, and in a gateway. The engine spells `LETTERS` again and again, without a pause."""
    vocabulary = make_tokenizer(tmp_path).get_vocab()
    pace = Pace(0.0, tuple(vocabulary[letter] for letter in LETTERS), len(vocabulary), str(tmp_path / "journal"))
    for name, value in pace.environment().items():
        monkeypatch.setenv(name, value)
    config = ServeConfig(
        model=ModelOptions(model=str(tmp_path), served_model_name="m"), server=ServerConfig(port=0, http_port=0)
    )
    server = Server(config, SupervisedEngine(config.engine_options, program=PROGRAM))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        await asyncio.wait_for(server.start(ignore_progress), WAIT_S)
        port = server.http_port
        if request.param == "gateway":
            gateway = Gateway(GatewayConfig(target=f"127.0.0.1:{server.port}", http_port=0))
            stack.push_async_callback(gateway.stop)
            await gateway.start()
            port = gateway.port
        yield f"http://127.0.0.1:{port}"


async def chunks_of(http: httpx.AsyncClient, num_tokens: int) -> list[Json]:
    """The chunks of one answer."""
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": num_tokens}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async with http.stream("POST", "/v1/chat/completions", json={**asked, **options}) as answered:
        lines = [line async for line in answered.aiter_lines() if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def test_every_stream_has_all_of_its_own_text_and_none_of_another(url: str) -> None:
    lengths = [100 + stream for stream in range(NUM_STREAMS)]
    limits = httpx.Limits(max_connections=NUM_STREAMS)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, limits=limits) as http, asyncio.timeout(WAIT_S):
        streams = await asyncio.gather(*(chunks_of(http, length) for length in lengths))
    assert len({chunks[0]["id"] for chunks in streams}) == NUM_STREAMS
    num_texts = 0
    for length, chunks in zip(lengths, streams, strict=True):
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert chunks[-1]["usage"]["completion_tokens"] == length
        texts = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
        assert "".join(texts) == (LETTERS * length)[:length]
        num_texts += len(texts)
    assert num_texts < sum(lengths)  # tokens were merged, or this would show little
