"""Speculation on and off: the same tokens, log-probabilities and ends, whatever the parameters."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.inline_engine import InlineEngine, token_ids
from support.tiny import make_model, vocabulary_of
from tokenwire.engine.protocol import SamplingParams, SequenceOutput

NUM_TOKENS = 60
GREEDY = SamplingParams(seed=1, max_tokens=NUM_TOKENS, temperature=0.0, ignore_eos=True)
REPEATING = [*range(20, 45), 20, 21, 22]
SCHEMA = {
    "type": "object",
    "properties": {"first_name": {"enum": ["Anna", "Bernd"]}, "numbers": {"type": "array", "items": {"enum": [1, 2]}}},
    "required": ["first_name", "numbers"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
JSON = f"start: %json {json.dumps(SCHEMA)}"
BIASED = ((30, 30.0), (31, 30.0), (32, 29.0))
"""Leaves a random model three tokens, so that it repeats itself by chance."""

CASES: Mapping[str, SamplingParams] = {
    "greedy": GREEDY,
    "greedy, log-probabilities": replace(GREEDY, top_logprobs=3),
    "few tokens": replace(GREEDY, max_tokens=3),
    "temperature 1": replace(GREEDY, temperature=1.0),
    "temperature 1, few choices": replace(GREEDY, temperature=1.0, logit_bias=BIASED, top_logprobs=2),
    "truncated": replace(GREEDY, temperature=0.8, logit_bias=BIASED, top_k=3, top_p=0.9, min_p=0.01),
    "penalties": replace(GREEDY, temperature=0.7, logit_bias=BIASED, frequency_penalty=0.3, repetition_penalty=1.1),
    "stop ids": replace(GREEDY, temperature=1.0, logit_bias=BIASED, stop_token_ids=(32,), min_tokens=20),
    "bad words": replace(GREEDY, temperature=1.0, logit_bias=BIASED, bad_words=(b"fox",)),
    "grammar": replace(GREEDY, temperature=1.0, grammar=JSON),
    "grammar, greedy": replace(GREEDY, grammar=JSON, top_logprobs=1),
}


def make_engine(folder: Path, *, speculation: bool, **options: Any) -> InlineEngine:
    engine = InlineEngine(folder, speculation=speculation, **options)
    engine.set_vocabulary(vocabulary_of(folder, engine.info))
    return engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engines(folder: Path) -> tuple[InlineEngine, InlineEngine]:
    """Without speculation, and with it."""
    return make_engine(folder, speculation=False), make_engine(folder, speculation=True)


def answers(engine: InlineEngine, sampling: SamplingParams, *, n: int = 1) -> list[list[SequenceOutput]]:
    engine.submit("a", REPEATING, sampling, n=n)
    outputs = engine.run()
    engine.scheduler.check_integrity()
    return [outputs["a", index] for index in range(n)]


def check_equal(expected: list[SequenceOutput], found: list[SequenceOutput]) -> None:
    assert token_ids(found) == token_ids(expected)
    assert found[-1].finish_reason is expected[-1].finish_reason
    of_found, of_expected = ([each for output in outputs for each in output.logprobs] for outputs in (found, expected))
    assert [each.logprob for each in of_found] == pytest.approx([each.logprob for each in of_expected], abs=1e-3)
    assert [len(each.top) for each in of_found] == [len(each.top) for each in of_expected]


@pytest.mark.parametrize("name", CASES)
def test_answers_are_the_same_with_and_without(engines: tuple[InlineEngine, InlineEngine], name: str) -> None:
    (expected,), (found,) = (answers(engine, CASES[name]) for engine in engines)
    check_equal(expected, found)


@pytest.mark.parametrize("name", ["temperature 1, few choices", "stop ids", "grammar"])
def test_right_drafts_save_steps(engines: tuple[InlineEngine, InlineEngine], name: str) -> None:
    (expected,), (found,) = (answers(engine, CASES[name]) for engine in engines)
    assert len(found) < len(expected)


def test_all_at_once_and_several_choices_of_each(engines: tuple[InlineEngine, InlineEngine]) -> None:
    found = []
    for engine in engines:
        for name, sampling in CASES.items():
            engine.submit(name, REPEATING, sampling, n=2)
        found.append(engine.run())
    without, with_drafts = found
    assert without.keys() == with_drafts.keys()
    for key, expected in without.items():
        check_equal(expected, with_drafts[key])


def test_after_preemptions_in_the_middle(folder: Path, engines: tuple[InlineEngine, InlineEngine]) -> None:
    found = []
    for engine in engines:
        for name, sampling in CASES.items():
            engine.submit(name, REPEATING, sampling)
        outputs: dict[str, list[SequenceOutput]] = {name: [] for name in CASES}
        for step in range(1000):
            if not engine.scheduler.has_work:
                break
            for output in engine.step():
                outputs[output.request_id].append(output)
            if step % 7 == 6:
                engine.scheduler.preempt_all()
        found.append(outputs)
    for name in CASES:
        check_equal(found[0][name], found[1][name])


def test_a_cached_answer_is_the_beginning_of_the_next_prompt(engines: tuple[InlineEngine, InlineEngine]) -> None:
    found = []
    for engine in engines:
        (first,) = answers(engine, CASES["greedy"])
        engine.submit("next", [*REPEATING, *token_ids(first), 5, 6, 7], CASES["greedy"])
        found.append(engine.run()["next", 0])
        assert found[-1][0].cached_tokens == (len(REPEATING) + NUM_TOKENS - 1) // 16 * 16
    check_equal(*found)


def test_the_deterministic_mode_has_the_same_bits(folder: Path) -> None:
    found = []
    for speculation in (False, True):
        engine = make_engine(folder, speculation=speculation, deterministic=True)
        for name, sampling in CASES.items():
            engine.submit(name, REPEATING, replace(sampling, top_logprobs=2))
        found.append({key: [(o.token_ids, o.logprobs) for o in outputs] for key, outputs in engine.run().items()})
        accepted = engine.scheduler.load(0).accepted_tokens
        assert (accepted > 20) == speculation
    flat = [
        {
            key: ([i for ids, _ in outputs for i in ids], [p for _, logprobs in outputs for p in logprobs])
            for key, outputs in each.items()
        }
        for each in found
    ]
    assert flat[0] == flat[1]
