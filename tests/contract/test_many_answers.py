"""A thousand answers over gRPC from an engine that is faster than its readers."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.scripted_engine import PROGRAM, Pace
from support.server import ignore_progress
from support.tiny import make_tokenizer
from tokenwire.chat.completion import Completion
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig, StreamConfig
from tokenwire.engine.generation import LiveGeneration
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server
from tokenwire_client import AsyncClient

WAIT_S = 120
LETTERS = "tokenwire"
NUM_TOKENS = 45


@pytest.fixture
async def fast_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    """A server whose engine spells `LETTERS` again and again, as fast as it can."""
    vocabulary = make_tokenizer(tmp_path).get_vocab()
    pace = Pace(0.0, tuple(vocabulary[letter] for letter in LETTERS), len(vocabulary), str(tmp_path / "journal"))
    for name, value in pace.environment().items():
        monkeypatch.setenv(name, value)
    config = ServeConfig(
        model=ModelOptions(model=str(tmp_path)), server=ServerConfig(port=0), streams=StreamConfig(retain_for_s=0)
    )
    server = Server(config, SupervisedEngine(config.engine_options, program=PROGRAM))
    try:
        await asyncio.wait_for(server.start(ignore_progress), WAIT_S)
        yield server
    finally:
        await asyncio.wait_for(server.stop(), WAIT_S)


async def test_each_of_a_thousand_answers_has_every_token_in_order_and_none_stays_behind(fast_server: Server) -> None:
    texts, num_deltas = [], 0

    async def ask(client: AsyncClient, times: int) -> None:
        nonlocal num_deltas
        for _ in range(times):
            pieces = [
                update.text async for update in client.stream("hello", max_completion_tokens=NUM_TOKENS) if update.text
            ]
            texts.append("".join(pieces))
            num_deltas += len(pieces)

    async with AsyncClient(f"127.0.0.1:{fast_server.port}") as client, asyncio.timeout(WAIT_S):
        await asyncio.gather(*(ask(client, 25) for _ in range(40)))
        await fast_server.service.wait_idle()
    assert texts == [LETTERS * 5] * 1000
    assert num_deltas < 1000 * NUM_TOKENS  # tokens were merged, or this would show nothing
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) in (Completion, LiveGeneration)]
