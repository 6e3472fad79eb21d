"""A real engine that is killed again and again at random points: answers are those of an engine that never died."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from support.engine_children import engine_children
from support.inline_engine import InlineEngine
from support.mixed_requests import Answers, gather, mixed_requests, sequences
from support.native import needs_compiler
from support.tiny import make_model, vocabulary_of
from tokenwire.engine.protocol import EngineOptions, GenerationRequest, SequenceOutput
from tokenwire.engine.restarts import FaultPolicy
from tokenwire.engine.supervisor import SupervisedEngine

WAIT_S = 120
NUM_KILLS = 3
# Without a compiler the passes of torch are taken, and their last bits depend on the batch.
pytestmark = needs_compiler


def requests() -> list[GenerationRequest]:
    """Long enough to be killed some times."""
    return [
        replace(each, sampling=replace(each.sampling, max_tokens=5 * each.sampling.max_tokens))
        for each in mixed_requests()
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), max_position_embeddings=1024)


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Answers:
    engine = InlineEngine(folder, threads=1)
    engine.set_vocabulary(vocabulary_of(folder, engine.info))
    for each in requests():
        engine.submit(
            each.request_id, each.prompt_token_ids, each.sampling, n=each.n, prompt_logprobs=each.prompt_logprobs
        )
    return gather(output for outputs in engine.run().values() for output in outputs)


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[SupervisedEngine]:
    options = EngineOptions(model=str(folder), device="cpu", weights="fp32", threads=1)
    engine = SupervisedEngine(options, policy=FaultPolicy(first_pause_s=0.01))
    try:
        info = await asyncio.wait_for(engine.start(lambda progress: None), WAIT_S)
        await asyncio.wait_for(engine.set_vocabulary(vocabulary_of(folder, info)), WAIT_S)
        yield engine
    finally:
        await asyncio.wait_for(engine.stop(), WAIT_S)
    assert engine_children() == []


class Killer:
    """Kills the engine at random points, each when all that is live has gone on since the last."""

    def __init__(self, requests: list[GenerationRequest], *, seed: int, most_outputs: int) -> None:
        self.outputs: list[SequenceOutput] = []
        self.num_kills = 0
        self._random = Random(seed)
        self._most_outputs = most_outputs
        self._live = sequences(requests)
        self._waited_for: set[tuple[str, int]] = set()
        self._left = 0
        self._aim()

    def add(self, outputs: tuple[SequenceOutput, ...]) -> None:
        self.outputs += outputs
        for output in outputs:
            key = output.request_id, output.index
            self._waited_for.discard(key)
            if output.finish_reason is not None:
                self._live.discard(key)
        self._left -= len(outputs)
        if self._left <= 0 and not self._waited_for and self._live and self.num_kills < NUM_KILLS:
            (process,) = engine_children()
            process.kill()
            self.num_kills += 1
            self._aim()

    def _aim(self) -> None:
        self._left = self._random.randrange(self._most_outputs)
        self._waited_for = set(self._live)


async def test_answers_are_those_of_an_engine_that_never_died(engine: SupervisedEngine, unbroken: Answers) -> None:
    asked = requests()
    killer = Killer(asked, seed=5, most_outputs=600)

    async def ask(request: GenerationRequest) -> None:
        if request.sampling.grammar is not None:
            await asyncio.wait_for(engine.check_grammar(request.sampling.grammar), WAIT_S)
        generation = engine.generate(request)
        num_open = request.n
        while num_open:
            outputs = await asyncio.wait_for(generation.receive(), WAIT_S)
            num_open -= sum(output.finish_reason is not None for output in outputs)
            killer.add(outputs)

    await asyncio.gather(*map(ask, asked))
    assert (killer.num_kills, engine.num_restarts) == (NUM_KILLS, NUM_KILLS)
    found = gather(killer.outputs)
    assert found.keys() == unbroken.keys()
    for key, answer in unbroken.items():
        assert found[key] == answer, key
    told = {(output.request_id, output.cached_tokens, output.queue_s) for output in killer.outputs}
    assert len(told) == len(asked)  # what belongs to the first run is told of all
