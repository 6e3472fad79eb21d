"""An engine whose processes die, hang and do not start, with a scripted process that does so when it is told."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from support.engine_children import engine_children
from support.mortal_engine import DIES, DIES_LATER, HANGS, LATER, PROGRAM, expected
from tokenwire.engine.generation import LiveGeneration
from tokenwire.engine.protocol import (
    EngineOptions,
    EngineState,
    GenerationRequest,
    GrammarError,
    SamplingParams,
    Vocabulary,
)
from tokenwire.engine.restarts import FaultPolicy
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.errors import EngineFaultError

WAIT_S = 60
LENGTH = 60
BYTES = Vocabulary(tuple(bytes([byte]) for byte in range(256)), frozenset({2}), (2,))
PATIENT = FaultPolicy(watchdog_s=0, first_pause_s=0.01, longest_pause_s=0.05)

MakeEngine = Callable[..., AbstractAsyncContextManager[SupervisedEngine]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fingerprint").write_text("00")
    return tmp_path


@pytest.fixture
def make_engine(folder: Path) -> MakeEngine:
    @asynccontextmanager
    async def make(policy: FaultPolicy = PATIENT) -> AsyncIterator[SupervisedEngine]:
        engine = SupervisedEngine(EngineOptions(model=str(folder)), policy=policy, program=PROGRAM)
        try:
            await asyncio.wait_for(engine.start(lambda progress: None), WAIT_S)
            yield engine
        finally:
            await asyncio.wait_for(engine.stop(), WAIT_S)
        assert engine_children(*PROGRAM) == []

    return make


def request(name: str, first: int, *marks: int, n: int = 1, length: int = LENGTH) -> GenerationRequest:
    return GenerationRequest(name, (first, *marks), SamplingParams(seed=0, max_tokens=length), n)


async def read(generation: LiveGeneration, request: GenerationRequest) -> list[list[int]]:
    """The tokens of all sequences."""
    tokens: list[list[int]] = [[] for _ in range(request.n)]
    num_open = request.n
    while num_open:
        for output in await asyncio.wait_for(generation.receive(), WAIT_S):
            tokens[output.index] += output.token_ids
            num_open -= output.finish_reason is not None
    return tokens


async def answer(engine: SupervisedEngine, request: GenerationRequest) -> list[list[int]]:
    return await read(engine.generate(request), request)


async def is_over(engine: SupervisedEngine, *states: EngineState) -> EngineState:
    return await asyncio.wait_for(engine.wait_for_state(lambda state: state in states), WAIT_S)


def send_signal(number: signal.Signals) -> None:
    (process,) = engine_children(*PROGRAM)
    process.send_signal(number)


async def test_requests_go_on_where_they_are_when_the_engine_is_killed(make_engine: MakeEngine) -> None:
    requests = [request(f"{number}", 100 * number, n=1 + number % 3) for number in range(1, 8)]
    async with make_engine() as engine:
        generations = [engine.generate(each) for each in requests]
        await asyncio.wait_for(engine.wait_for_load(lambda load: load.step > 5), WAIT_S)
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.RECOVERING)
        later = request("later", 5000)
        generations.append(engine.generate(later))
        found = [await read(*each) for each in zip(generations, [*requests, later], strict=True)]
        assert found == [expected(each) for each in [*requests, later]]
        assert (engine.state, engine.num_restarts) == (EngineState.RUNNING, 1)


async def test_what_was_dropped_before_or_while_the_engine_was_away_stays_so(make_engine: MakeEngine) -> None:
    some, none = request("some", 100, n=3), request("none", 900)
    async with make_engine() as engine:
        kept, dropped = engine.generate(some), engine.generate(none)
        kept.abort(0)
        await asyncio.wait_for(engine.wait_for_load(lambda load: load.running == 3), WAIT_S)
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.RECOVERING)
        dropped.abort()
        kept.abort(1)
        tokens: list[int] = []
        while len(tokens) < LENGTH:
            for output in await asyncio.wait_for(kept.receive(), WAIT_S):
                assert output.index == 2
                tokens += output.token_ids
        assert tokens == expected(some)[2]
        await asyncio.wait_for(engine.wait_for_load(lambda load: load.running == 0), WAIT_S)


@pytest.mark.parametrize("mark", [DIES, DIES_LATER])
async def test_a_request_that_kills_the_engine_fails_alone(make_engine: MakeEngine, mark: int) -> None:
    bystanders = [request(f"{number}", 100 * number, n=2) for number in range(1, 6)]
    async with make_engine() as engine:
        generations = [engine.generate(each) for each in bystanders]
        deadly = engine.generate(request("deadly", 7, mark))
        newcomer = request("new", 9000)
        found, failure, new = await asyncio.gather(
            asyncio.gather(*(read(*each) for each in zip(generations, bystanders, strict=True))),
            asyncio.gather(read(deadly, request("deadly", 7)), return_exceptions=True),
            answer(engine, newcomer),
        )
        assert found == [expected(each) for each in bystanders]
        assert new == expected(newcomer)
        (error,) = failure
        assert isinstance(error, EngineFaultError)
        assert error.completion_id == "deadly"
        assert error.metadata["tokens_emitted"] == str(LATER if mark == DIES_LATER else 0)
        assert engine.num_restarts <= 3
        assert await is_over(engine, EngineState.RUNNING)


async def test_an_engine_that_stands_still_is_killed_and_its_requests_go_on(make_engine: MakeEngine) -> None:
    async with make_engine(FaultPolicy(watchdog_s=0.4)) as engine:
        asked = request("asked", 100)
        generation = engine.generate(asked)
        await asyncio.wait_for(engine.wait_for_load(lambda load: load.step > 5), WAIT_S)
        send_signal(signal.SIGSTOP)
        assert await read(generation, asked) == expected(asked)
        assert engine.num_restarts == 1


async def test_a_request_that_hangs_the_engine_fails(make_engine: MakeEngine) -> None:
    async with make_engine(FaultPolicy(watchdog_s=0.4)) as engine:
        bystander = request("bystander", 100)
        good = engine.generate(bystander)
        with pytest.raises(EngineFaultError):
            await answer(engine, request("hangs", 7, HANGS))
        assert await read(good, bystander) == expected(bystander)


async def test_grammars_are_checked_while_the_engine_is_away(make_engine: MakeEngine, folder: Path) -> None:
    async with make_engine(FaultPolicy(crash_loop_deaths=1000)) as engine:
        await asyncio.wait_for(engine.set_vocabulary(BYTES), WAIT_S)
        (folder / "broken").touch()
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.RECOVERING)
        await asyncio.wait_for(engine.check_grammar('start: "a" /[0-9]+/'), WAIT_S)
        with pytest.raises(GrammarError):
            await asyncio.wait_for(engine.check_grammar("start: nothing"), WAIT_S)


async def test_an_idle_engine_is_not_watched(make_engine: MakeEngine) -> None:
    async with make_engine(FaultPolicy(watchdog_s=0.02)) as engine:
        assert await answer(engine, request("first", 100, length=1)) == [[100]]
        await asyncio.sleep(0.3)
        assert await answer(engine, request("second", 200, length=1)) == [[200]]
        assert engine.num_restarts == 0


async def test_a_crash_loop_fails_what_is_live_and_ends_when_the_engine_starts_again(
    make_engine: MakeEngine, folder: Path
) -> None:
    async with make_engine() as engine:
        generation = engine.generate(request("live", 100, length=10_000))
        await asyncio.wait_for(generation.receive(), WAIT_S)
        (folder / "broken").touch()
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.FAILED)
        with pytest.raises(EngineFaultError, match="again and again"):
            await read(generation, request("live", 100))
        with pytest.raises(EngineFaultError, match="again and again"):
            engine.generate(request("new", 200))
        (folder / "broken").unlink()
        await is_over(engine, EngineState.RUNNING)
        assert await answer(engine, request("after", 300)) == expected(request("after", 300))


async def test_another_model_in_the_same_place_is_not_gone_on_with(make_engine: MakeEngine, folder: Path) -> None:
    async with make_engine() as engine:
        (folder / "fingerprint").write_text("11")
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.FAILED)
        assert engine.num_restarts == 0
        (folder / "fingerprint").write_text("00")
        await is_over(engine, EngineState.RUNNING)


async def test_a_stop_while_the_engine_is_away_fails_what_is_live(make_engine: MakeEngine, folder: Path) -> None:
    async with make_engine(FaultPolicy(crash_loop_deaths=1000)) as engine:
        generation = engine.generate(request("live", 100, length=10_000))
        (folder / "broken").touch()
        send_signal(signal.SIGKILL)
        await is_over(engine, EngineState.RECOVERING)
        await asyncio.wait_for(engine.stop(), WAIT_S)
        with pytest.raises(EngineFaultError, match="stopped"):
            await read(generation, request("live", 100))
