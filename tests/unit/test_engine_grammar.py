"""Grammars in the engine process: requests wait for theirs beside the others, and end with valid answers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import pytest_asyncio

from support.inline_engine import InlineEngine, token_ids
from support.tiny import make_model, vocabulary_of
from tokenwire.engine.protocol import (
    EngineOptions,
    FinishReason,
    GenerationRequest,
    GrammarError,
    SamplingParams,
    SequenceOutput,
    Vocabulary,
)
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.errors import EngineFaultError

WAIT_S = 120
PROMPT = tuple(range(10, 40))
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 30}, "b": {"type": "array", "items": {"enum": [1, 2, 3]}}},
    "required": ["a"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
JSON = SamplingParams(seed=3, max_tokens=300, temperature=2.0, grammar=f"start: %json {json.dumps(SCHEMA)}")
ENDLESS = SamplingParams(seed=0, max_tokens=400, ignore_eos=True)


class Engine:
    """An engine process with a tiny model, and text for its tokens."""

    def __init__(self, process: SupervisedEngine, vocabulary: Vocabulary) -> None:
        self.process = process
        self.vocabulary = vocabulary

    async def generate(self, name: str, sampling: SamplingParams, *, n: int = 1) -> list[tuple[bytes, FinishReason]]:
        """The texts of all sequences of a request, and why they ended."""
        generation = self.process.generate(GenerationRequest(name, PROMPT, sampling, n))
        texts: dict[int, bytes] = dict.fromkeys(range(n), b"")
        reasons: dict[int, FinishReason] = {}
        while len(reasons) < n:
            for output in await asyncio.wait_for(generation.receive(), WAIT_S):
                kept = (i for i in output.token_ids if i not in self.vocabulary.special_token_ids)
                texts[output.index] += b"".join(map(self.vocabulary.token_bytes.__getitem__, kept))
                if output.finish_reason is not None:
                    reasons[output.index] = output.finish_reason
        return [(texts[index], reasons[index]) for index in range(n)]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tiny_model: Path) -> AsyncIterator[Engine]:
    process = SupervisedEngine(EngineOptions(model=str(tiny_model), device="cpu", threads=1))
    info = await asyncio.wait_for(process.start(lambda progress: None), WAIT_S)
    vocabulary = vocabulary_of(tiny_model, info)
    await asyncio.wait_for(process.set_vocabulary(vocabulary), WAIT_S)
    yield Engine(process, vocabulary)
    await asyncio.wait_for(process.stop(), WAIT_S)


def check(answers: list[tuple[bytes, FinishReason]]) -> None:
    """Those that are not cut off match the schema, and there are some."""
    whole = [text for text, reason in answers if reason is not FinishReason.LENGTH]
    assert whole
    for text in whole:
        jsonschema.validate(json.loads(text), SCHEMA)


@pytest.mark.asyncio(loop_scope="module")
async def test_choices_of_one_request_match_its_schema_each_in_its_own_way(engine: Engine) -> None:
    assert JSON.grammar is not None
    await asyncio.wait_for(engine.process.check_grammar(JSON.grammar), WAIT_S)
    answers = await engine.generate("json", JSON, n=4)
    check(answers)
    assert len({text for text, _ in answers}) == 4


def test_an_answer_is_the_same_after_preemptions(tiny_model: Path) -> None:
    engine = InlineEngine(tiny_model, deterministic=True)
    engine.set_vocabulary(vocabulary_of(tiny_model, engine.info))
    engine.submit("quiet", PROMPT, JSON, n=2)
    quiet = engine.run()
    expected = [token_ids(quiet["quiet", index]) for index in range(2)]
    engine.submit("disturbed", PROMPT, JSON, n=2)
    outputs: list[SequenceOutput] = []
    while engine.scheduler.has_work:
        outputs += engine.step()
        if len(outputs) % 5 == 0:
            engine.scheduler.preempt_all()
    assert engine.scheduler.load(0).preemptions > 2
    assert [token_ids([o for o in outputs if o.index == index]) for index in range(2)] == expected


@pytest.mark.asyncio(loop_scope="module")
async def test_a_request_that_waits_for_its_grammar_can_be_dropped(engine: Engine) -> None:
    slow = replace(ENDLESS, grammar="start: " + " | ".join(f'"{i}" /x+/' for i in range(3000)))
    dropped = engine.process.generate(GenerationRequest("dropped", PROMPT, slow))
    halved = engine.process.generate(GenerationRequest("halved", PROMPT, replace(slow, max_tokens=5), 2))
    dropped.abort()
    halved.abort(0)
    outputs: list[SequenceOutput] = []
    while not outputs or outputs[-1].finish_reason is None:
        outputs += await asyncio.wait_for(halved.receive(), WAIT_S)
    assert {output.index for output in outputs} == {1}
    load = await asyncio.wait_for(engine.process.wait_for_load(lambda load: load.running + load.waiting == 0), WAIT_S)
    assert load.preemptions == 0


@pytest.mark.asyncio(loop_scope="module")
async def test_others_go_on_while_a_hostile_grammar_is_refused(engine: Engine) -> None:
    steady = asyncio.create_task(engine.generate("steady", ENDLESS))
    rules = "start: r0\n" + "".join(f'r{i}: r{i + 1} "a"\n' for i in range(5000)) + 'r5000: "b"'
    with pytest.raises(GrammarError, match="nests too deeply"):
        await asyncio.wait_for(engine.process.check_grammar(rules), WAIT_S)
    check(await engine.generate("json", JSON, n=4))
    assert [reason for _, reason in await steady] == [FinishReason.LENGTH]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_grammar_that_nobody_has_checked_fails_its_request_alone(engine: Engine) -> None:
    (answer,) = await engine.generate("wrong", replace(JSON, grammar="start: foo"))
    assert answer == (b"", FinishReason.CONSTRAINT_FAILED)
    check(await engine.generate("json", JSON, n=4))


@pytest.mark.asyncio(loop_scope="module")
async def test_bad_words_hold_across_preemptions(engine: Engine) -> None:
    words = (b"a", b"e", b" t")
    going = asyncio.create_task(engine.generate("clean", replace(ENDLESS, bad_words=words, max_tokens=200)))
    await asyncio.wait_for(engine.process.wait_for_load(lambda load: load.running == 1), WAIT_S)
    engine.process.preempt()
    ((text, reason),) = await going
    assert reason is FinishReason.LENGTH
    assert re.search(b"a|e| t", text) is None


async def test_no_grammar_is_checked_without_an_engine() -> None:
    with pytest.raises(EngineFaultError):
        await SupervisedEngine(EngineOptions(model="none")).check_grammar("start: /a/")
