"""An abort frees places and blocks at once, before the next step, whatever the sequences were at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.inline_engine import InlineEngine, token_ids
from support.tiny import make_model, vocabulary_of
from tokenwire.engine.protocol import EngineLoad, SamplingParams

PROMPT = tuple(range(100, 300))
OTHER = tuple(range(300, 340))
SAMPLING = SamplingParams(seed=1, max_tokens=100, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def engine(folder: Path) -> InlineEngine:
    """Six sequences at most, and 32 tokens a step: a prompt takes many."""
    engine = InlineEngine(
        folder, threads=1, max_running=6, max_step_tokens=32, kv_memory_bytes=8 << 20, speculation=False
    )
    engine.set_vocabulary(vocabulary_of(folder, engine.info))
    return engine


def load(engine: InlineEngine) -> EngineLoad:
    return engine.scheduler.load(0)


def is_prefilling(engine: InlineEngine) -> bool:
    return not engine.step() and load(engine).free_blocks < load(engine).total_blocks


PHASES: dict[str, tuple[dict[str, object], Callable[[InlineEngine], bool]]] = {
    "queued": ({}, lambda engine: True),
    "in the midst of its prompt": ({}, is_prefilling),
    "decoding": ({}, lambda engine: bool(engine.step())),
    "several choices": ({"n": 4}, lambda engine: len(engine.step()) == 4),
    "by a grammar": (
        {"sampling": SamplingParams(seed=1, max_tokens=100, grammar="start: /[a-z]+/")},
        lambda engine: bool(engine.step()),
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_an_abort_frees_everything_before_the_next_step(engine: InlineEngine, phase: str) -> None:
    fields, is_there = PHASES[phase]
    engine.submit("aborted", PROMPT, **{"sampling": SAMPLING, **fields})  # type: ignore[arg-type]
    while not is_there(engine):
        pass
    engine.scheduler.abort("aborted")
    after = load(engine)
    assert (after.running, after.waiting, after.free_blocks) == (0, 0, after.total_blocks)
    assert not engine.scheduler.has_work


def test_an_abort_frees_one_choice_and_leaves_the_others(engine: InlineEngine) -> None:
    engine.submit("a", PROMPT, SAMPLING, n=4)
    while len(engine.step()) < 4:
        pass
    before = load(engine)
    engine.scheduler.abort("a", 2)
    after = load(engine)
    assert (before.running, after.running) == (4, 3)
    assert after.free_blocks > before.free_blocks
    assert {index for _, index in engine.run()} == {0, 1, 3}


@pytest.mark.parametrize("phase", PHASES)
def test_others_do_not_notice_an_abort(engine: InlineEngine, folder: Path, phase: str) -> None:
    engine.submit("other", OTHER, SAMPLING)
    alone = token_ids(engine.run()["other", 0])
    fields, is_there = PHASES[phase]
    engine.submit("aborted", PROMPT, **{"sampling": SAMPLING, **fields})  # type: ignore[arg-type]
    while not is_there(engine):
        pass
    engine.submit("other", OTHER, SAMPLING)
    engine.step()
    engine.scheduler.abort("aborted")
    beside = engine.run()["other", 0]
    assert token_ids(beside)[-50:] == alone[-50:]
