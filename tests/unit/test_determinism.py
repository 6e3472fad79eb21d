"""Deterministic mode: a request has the same tokens and log-probabilities, bit by bit, whatever else happens."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from support.inline_engine import InlineEngine
from support.tiny import make_model
from tokenwire.engine.protocol import EngineStartError, SamplingParams, TokenLogprobs

# With the wide one the products of torch's own layers depend on the number of rows; 70 columns do not fill vectors.
WIDE = {"hidden_size": 256, "intermediate_size": 704, "num_key_value_heads": 2, "head_dim": 64}
MODELS: Mapping[str, tuple[str, Mapping[str, Any]]] = {"llama": ("llama", WIDE), "gpt2": ("gpt2", {"n_inner": 70})}
CASES = [("llama", "packed"), ("gpt2", "packed"), ("llama", "unpacked")]
LONG = [7 + 13 * i % 480 for i in range(300)]
PROMPTS = [LONG[:1], LONG[40:103], LONG[:64], LONG[1:66], LONG[:150], LONG[2:230]]
NUM_TOKENS = 16
MOST_STEPS = 2000

Answer = tuple[list[int], list[TokenLogprobs]]


def sampling(number: int) -> SamplingParams:
    temperature = 0.0 if number % 2 else 1.5
    return SamplingParams(seed=number, max_tokens=NUM_TOKENS, temperature=temperature, ignore_eos=True, top_logprobs=3)


def submit_subjects(engine: InlineEngine) -> None:
    for number, prompt in enumerate(PROMPTS):
        engine.submit(f"{number}", prompt, sampling(number))


def submit_others(engine: InlineEngine, numbers: range) -> None:
    for number in numbers:
        prompt = LONG[number : number + 1 + number * 37 % 120]
        engine.submit(f"other {number}", prompt, replace(sampling(number), max_tokens=4 + number, top_logprobs=None))


def run(
    engine: InlineEngine,
    before_step: Callable[[int], None] = lambda step: None,
    *,
    cached_tokens: dict[str, int] | None = None,
) -> dict[str, Answer]:
    """Step to the end. The answers by `request id` or, behind the first choice, `request id/index`."""
    found: dict[str, Answer] = defaultdict(lambda: ([], []))
    for step in range(MOST_STEPS):
        before_step(step)
        if not engine.scheduler.has_work:
            return found
        for output in engine.step():
            name = f"{output.request_id}/{output.index}" if output.index else output.request_id
            if cached_tokens is not None:
                cached_tokens[name] = output.cached_tokens
            found[name][0].extend(output.token_ids)
            found[name][1].extend(output.logprobs)
    raise AssertionError(f"still at work after {MOST_STEPS} steps")


def subjects(found: Mapping[str, Answer]) -> dict[str, Answer]:
    return {f"{number}": found[f"{number}"] for number in range(len(PROMPTS))}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: " ".join(case))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    model, products = request.param
    family, fields = MODELS[model]
    with pytest.MonkeyPatch.context() as patch:
        if products == "unpacked":
            patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        yield make_model(tmp_path_factory.mktemp("model"), family, **fields)


def make_engine(checkpoint: Path, **options: Any) -> InlineEngine:
    return InlineEngine(checkpoint, **{"max_running": 40, "max_step_tokens": 140, "deterministic": True, **options})


@pytest.fixture(scope="module")
def alone(checkpoint: Path) -> dict[str, Answer]:
    """The answer to each subject with nothing else in the engine."""
    engine = make_engine(checkpoint)
    found: dict[str, Answer] = {}
    for number, prompt in enumerate(PROMPTS):
        engine.submit(f"{number}", prompt, sampling(number))
        found |= run(engine)
    return found


def test_among_32_others_in_a_new_engine(checkpoint: Path, alone: dict[str, Answer]) -> None:
    engine = make_engine(checkpoint)

    def arrive(step: int) -> None:
        match step:
            case 0:
                submit_others(engine, range(16))
            case 2:
                submit_subjects(engine)
            case 3:
                submit_others(engine, range(16, 32))

    assert subjects(run(engine, arrive)) == alone


def test_after_preemptions_at_random_steps(checkpoint: Path, alone: dict[str, Answer]) -> None:
    engine = make_engine(checkpoint)
    random = Random(3)

    def preempt(step: int) -> None:
        if random.random() < 0.3:
            engine.scheduler.preempt_all()

    submit_others(engine, range(4))
    submit_subjects(engine)
    assert subjects(run(engine, preempt)) == alone
    assert engine.scheduler.load(0).preemptions > 20


def test_with_prompts_from_the_prefix_cache(checkpoint: Path, alone: dict[str, Answer]) -> None:
    engine = make_engine(checkpoint)
    engine.submit("shorter", LONG[2:140], sampling(1))
    engine.submit("next turn", [*LONG[:150], *alone["4"][0], *LONG[:50]], sampling(2))
    run(engine)
    submit_subjects(engine)
    cached: dict[str, int] = {}
    assert subjects(run(engine, cached_tokens=cached)) == alone
    assert cached == {"0": 0, "1": 0, "2": 0, "3": 0, "4": 128, "5": 128}


def test_a_turn_behind_an_answer_is_that_of_an_engine_that_never_saw_the_answer(
    checkpoint: Path, alone: dict[str, Answer]
) -> None:
    seen, unseen = make_engine(checkpoint), make_engine(checkpoint)
    seen.submit("first", PROMPTS[2], sampling(2))
    run(seen)
    for engine in (seen, unseen):
        engine.submit("next", [*PROMPTS[2], *alone["2"][0], *LONG[:70]], sampling(0))
    assert run(seen) == run(unseen)


def test_a_choice_is_the_answer_of_its_seed(checkpoint: Path, alone: dict[str, Answer]) -> None:
    engine = make_engine(checkpoint)
    submit_others(engine, range(8))
    engine.submit("many", PROMPTS[4], replace(sampling(4), seed=2), n=3)
    assert run(engine)["many/2"] == alone["4"]


def test_when_the_cache_is_too_small_for_all(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    # 4 KiB a block of 16 tokens: 19 blocks for what grows to 160.
    found = []
    for memory in (None, 20 * 4096):
        engine = make_engine(folder, kv_memory_bytes=memory, max_context=256)
        submit_others(engine, range(16, 32))
        submit_subjects(engine)
        found.append(run(engine))
    assert engine.scheduler.load(0).preemptions > 0
    assert found[0] == found[1]


def test_a_step_must_have_room_for_a_chunk_beside_a_full_batch(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"`max_running` \+ 64 \(a chunk in .*\) = 104, .* got 103"):
        make_engine(tmp_path, max_step_tokens=103)
