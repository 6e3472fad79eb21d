"""Sampling: each stage against a float64 reference, and rows that do not feel their neighbours."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support import reference_sampler
from tokenwire.engine.protocol import SamplingParams
from tokenwire.engine.sampling.sample import Sample
from tokenwire.engine.sampling.sampler import Sampler

CPU = torch.device("cpu")
EOS = (2, 5)
PLAIN = SamplingParams(seed=17, max_tokens=1000)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

VARIED = (
    PLAIN,
    replace(PLAIN, temperature=0.0),
    replace(PLAIN, temperature=0.0, top_logprobs=3),
    replace(PLAIN, temperature=0.7, top_p=0.9),
    replace(PLAIN, top_k=5, top_logprobs=20),
    replace(PLAIN, top_k=20, top_p=0.8, min_p=0.01),
    replace(PLAIN, temperature=1.5, repetition_penalty=1.3, top_p=0.95),
    replace(PLAIN, frequency_penalty=1.0, presence_penalty=0.5),
    replace(PLAIN, temperature=0.0, frequency_penalty=2.0),
    replace(PLAIN, logit_bias=((3, 5.0), (4, -100.0)), min_tokens=4, stop_token_ids=(7,)),
    replace(PLAIN, min_p=0.1, seed=INT64_MIN),
)


def make_sampler(vocabulary_size: int, *, max_slots: int = 16) -> Sampler:
    return Sampler(vocabulary_size=vocabulary_size, max_slots=max_slots, eos_token_ids=EOS, device=CPU)


def draw(
    logits: torch.Tensor, params: SamplingParams, prompt: Sequence[int] = (), generated: Sequence[int] = ()
) -> Sample:
    """One sample from one row."""
    sampler = make_sampler(len(logits), max_slots=1)
    sampler.assign(0, params, prompt, generated)
    return sampler.sample(logits.unsqueeze(0), [0])[0]


def random_logits(rows: int, vocabulary_size: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn((rows, vocabulary_size), generator=torch.Generator().manual_seed(seed)) * 3


@st.composite
def cases(strategy: st.DrawFn) -> tuple[list[float], SamplingParams, list[int], list[int]]:
    """Logits, parameters, prompt and generated tokens. Values on a grid: there are ties, and float32 holds them."""
    size = strategy(st.integers(8, 150))
    token = st.integers(0, size - 1)
    logits = strategy(st.lists(st.integers(-40, 40).map(lambda x: x / 4), min_size=size, max_size=size))
    params = SamplingParams(
        seed=strategy(st.integers(INT64_MIN, INT64_MAX)),
        max_tokens=100,
        temperature=strategy(st.sampled_from([0.0, 0.01, 0.25, 0.5, 1.0, 1.5, 2.0])),
        top_p=strategy(st.sampled_from([1.0, 1.0, 0.0, 0.01, 0.5, 0.9, 0.99])),
        top_k=strategy(st.sampled_from([0, 0, 1, 2, 7, 40, 10**6])),
        min_p=strategy(st.sampled_from([0.0, 0.0, 0.01, 0.3, 1.0])),
        frequency_penalty=strategy(st.sampled_from([0.0, 0.5, -2.0, 2.0])),
        presence_penalty=strategy(st.sampled_from([0.0, 0.25, -2.0, 2.0])),
        repetition_penalty=strategy(st.sampled_from([1.0, 0.5, 1.25, 2.0])),
        logit_bias=tuple(strategy(st.dictionaries(token, st.sampled_from([-100.0, -1.5, 3.0, 100.0]))).items()),
        min_tokens=strategy(st.integers(0, 6)),
        stop_token_ids=tuple(strategy(st.lists(token, max_size=3))),
    )
    return logits, params, strategy(st.lists(token, max_size=8)), strategy(st.lists(token, max_size=8))


@settings(deadline=None)
@given(cases())
def test_a_token_is_the_one_that_the_reference_draws(
    case: tuple[list[float], SamplingParams, list[int], list[int]],
) -> None:
    logits, params, prompt, generated = case
    scores = reference_sampler.edited(logits, params, prompt=prompt, generated=generated, eos_token_ids=EOS)
    assume(reference_sampler.is_clear_cut(scores, params, position=len(generated)))
    expected = reference_sampler.sampled(scores, params, position=len(generated))
    assert draw(torch.tensor(logits), params, prompt, generated).token_id == expected


@pytest.mark.parametrize("params", VARIED)
def test_a_sequence_goes_on_after_a_preemption_as_if_nothing_had_happened(params: SamplingParams) -> None:
    logits = random_logits(12, 100)
    prompt = [1, 9, 9, 30]
    steady, moved = make_sampler(100), make_sampler(100)
    steady.assign(0, params, prompt)
    expected = [steady.sample(row.unsqueeze(0), [0])[0] for row in logits]
    ids = [sample.token_id for sample in expected]
    assert None not in ids
    moved.assign(3, PLAIN, [4])
    moved.sample(logits[:1], [3])
    moved.assign(3, params, prompt, [token_id for token_id in ids[:5] if token_id is not None])
    assert [moved.sample(row.unsqueeze(0), [3])[0] for row in logits[5:]] == expected[5:]


@pytest.mark.parametrize("vocabulary_size", [97, 49_152])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_the_same_alone_and_in_any_company(vocabulary_size: int, dtype: torch.dtype) -> None:
    logits = random_logits(3 * len(VARIED), vocabulary_size).to(dtype)
    params = [replace(p, seed=p.seed // 2 + i) for i, p in enumerate(VARIED * 3)]

    def run(order: Sequence[int], *, batch: int) -> dict[int, list[Sample]]:
        sampler = make_sampler(vocabulary_size, max_slots=64)
        outputs: dict[int, list[Sample]] = {i: [] for i in order}
        for place, i in enumerate(order):
            sampler.assign(63 - place, params[i], [1, 2, 3])
        for _ in range(3):
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                slots = [63 - place for place in range(start, start + len(chosen))]
                for i, sample in zip(chosen, sampler.sample(logits[list(chosen)], slots), strict=True):
                    outputs[i].append(sample)
        return outputs

    rows = range(len(params))
    alone = run(rows, batch=1)
    assert run(rows, batch=len(params)) == alone
    assert run([*reversed(rows)], batch=7) == alone


def test_a_row_that_is_not_finite_fails_alone() -> None:
    for params in VARIED:
        logits = random_logits(6, 100)
        sampler, healthy = make_sampler(100), make_sampler(100)
        for slot in range(6):
            sampler.assign(slot, params, [1])
            healthy.assign(slot, params, [1])
        expected = healthy.sample(logits.clone(), range(6))
        logits[0, 10] = math.nan
        logits[2, 2] = math.inf
        logits[4] = -math.inf
        samples = sampler.sample(logits, range(6))
        assert [samples[i] for i in (0, 2, 4)] == [Sample(token_id=None)] * 3
        assert [samples[i] for i in (1, 3, 5)] == [expected[i] for i in (1, 3, 5)]


def test_a_nan_under_a_banned_token_is_still_a_fault() -> None:
    logits = random_logits(1, 100)[0]
    logits[EOS[0]] = math.nan
    assert draw(logits, replace(PLAIN, min_tokens=1)).token_id is None


def test_a_row_with_every_token_banned_has_no_token() -> None:
    for params in (PLAIN, replace(PLAIN, temperature=0.0), replace(PLAIN, top_p=0.5)):
        banned = replace(params, logit_bias=tuple((i, -100.0) for i in range(10)))
        assert draw(torch.zeros(10), banned).token_id is None


def test_a_bias_of_minus_100_bans_even_the_surest_token() -> None:
    logits = torch.zeros(100)
    logits[8] = 500.0
    assert draw(logits, replace(PLAIN, logit_bias=((8, -100.0),), temperature=0.0)).token_id == 0


def test_a_bias_of_100_forces_a_token() -> None:
    logits = random_logits(1, 100)[0]
    tokens = {draw(logits, replace(PLAIN, seed=seed, logit_bias=((8, 100.0),))).token_id for seed in range(20)}
    assert tokens == {8}


def test_end_tokens_are_masked_until_min_tokens_and_not_after() -> None:
    logits = torch.zeros(1, 10)
    logits[0, [2, 5, 7]] = torch.tensor([9.0, 8.0, 7.0])
    logits[0, 3] = 6.0
    sampler = make_sampler(10)
    sampler.assign(0, replace(PLAIN, temperature=0.0, min_tokens=2, stop_token_ids=(7,), ignore_eos=True), [])
    assert [sampler.sample(logits, [0])[0].token_id for _ in range(4)] == [3, 3, 2, 2]


def test_penalties_count_every_token_as_it_is_generated() -> None:
    logits = torch.tensor([[3.0, 2.0, 0.5, 0.0]])
    sampler = make_sampler(4)
    sampler.assign(0, replace(PLAIN, temperature=0.0, frequency_penalty=1.0, presence_penalty=0.25), [0, 0, 0])
    # Scores of tokens 0 and 1: (3, 2), (1.75, 2), (1.75, 0.75), (0.75, 0.75), (−0.25, 0.75), (−0.25, −0.25).
    assert [sampler.sample(logits, [0])[0].token_id for _ in range(6)] == [0, 1, 0, 0, 1, 2]


def test_equal_logits_go_to_the_lowest_id() -> None:
    for size in (8, 64, 100, 1000):
        logits = torch.zeros(size)
        assert draw(logits, replace(PLAIN, temperature=0.0)).token_id == 0
        logits[[size // 2, size - 1]] = 1.0
        assert draw(logits, replace(PLAIN, temperature=0.0)).token_id == size // 2
        assert draw(logits, replace(PLAIN, top_k=1)).token_id == size // 2


@pytest.mark.parametrize("seed", [INT64_MIN, -1, 0, INT64_MAX])
def test_any_int64_seed_gives_its_own_stream(seed: int) -> None:
    logits = torch.zeros(2, 1000)
    sampler = make_sampler(1000)
    sampler.assign(0, replace(PLAIN, seed=seed), [])
    sampler.assign(1, replace(PLAIN, seed=seed ^ 1), [])
    pairs = [sampler.sample(logits, [0, 1]) for _ in range(10)]
    assert [a for a, _ in pairs] != [b for _, b in pairs]
    assert len({a.token_id for a, _ in pairs}) > 5


@pytest.mark.parametrize("temperature", [1e-310, 1e-38, 1.0])
@pytest.mark.parametrize("penalty", [5e-324, 1e-38, 1e-6])
def test_a_tiny_repetition_penalty_gives_the_likeliest_token_of_the_text(penalty: float, temperature: float) -> None:
    logits = random_logits(1, 1000)[0]
    params = replace(PLAIN, repetition_penalty=penalty, temperature=temperature)
    likeliest = logits[:100].argmax().item()
    assert draw(logits, params, range(100)).token_id == likeliest


@pytest.mark.parametrize("temperature", [1e-310, 1e-38, 1e-6])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    logits = random_logits(1, 1000)[0]
    assert draw(logits, replace(PLAIN, temperature=temperature)).token_id == logits.argmax().item()


@pytest.mark.parametrize("params", [PLAIN, replace(PLAIN, temperature=0.5), replace(PLAIN, top_p=0.7), VARIED[5]])
def test_tokens_come_as_often_as_their_probabilities_say(params: SamplingParams) -> None:
    logits = random_logits(1, 24)[0] / 3
    z = [x / params.temperature for x in logits.tolist()]
    allowed = reference_sampler.kept(z, params)
    probabilities = torch.tensor([z[i] for i in allowed], dtype=torch.float64).softmax(0)
    sampler = make_sampler(24, max_slots=500)
    for slot in range(500):
        sampler.assign(slot, replace(params, seed=slot), [])
    rows = logits.expand(500, -1)
    drawn = [sample.token_id for _ in range(40) for sample in sampler.sample(rows, range(500))]
    assert set(drawn) <= set(allowed)
    counts = torch.tensor([drawn.count(i) for i in allowed], dtype=torch.float64)
    expected = probabilities * len(drawn)
    freedom = len(allowed) - 1
    chi_squared = ((counts - expected) ** 2 / expected).sum().item()
    assert chi_squared < freedom + 4 * math.sqrt(2 * freedom)


def test_an_empty_batch_gives_nothing() -> None:
    assert make_sampler(10).sample(torch.empty(0, 10), []) == []


def test_a_slot_without_a_sequence_is_an_error() -> None:
    with pytest.raises(ValueError, match="slot 3 has no sequence"):
        make_sampler(10).sample(torch.zeros(1, 10), [3])


def test_logits_are_left_as_they_are() -> None:
    for params in VARIED:
        logits = random_logits(1, 128)
        sampler = make_sampler(128)
        sampler.assign(0, params, [1, 2])
        sampler.sample(logits, [0])
        assert torch.equal(logits, random_logits(1, 128))
