"""What top-k, top-p, min-p and the penalties leave, against the float64 reference and transformers' own processors."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from support import reference_sampler
from tokenwire.engine.protocol import SamplingParams
from tokenwire.engine.sampling.draw import Truncation, draw_truncated, mask_below_min_p, padded, row_argmax, row_max
from tokenwire.engine.sampling.noise import GumbelNoise, noise_key
from tokenwire.engine.sampling.penalties import Penalties
from tokenwire.engine.sampling.sampler import Sampler

CPU = torch.device("cpu")
SETTINGS = [
    Truncation(top_k=1),
    Truncation(top_k=13),
    Truncation(top_p=0.001),
    Truncation(top_p=0.6),
    Truncation(top_p=0.999),
    Truncation(min_p=0.02),
    Truncation(top_k=40, top_p=0.9),
    Truncation(top_k=10**6, top_p=0.9),
]


def kept(logits: torch.Tensor, truncation: Truncation) -> set[int]:
    """Tokens that are drawn when the noise favours them above all others."""
    size = len(logits)
    z = padded((logits - logits.max()).expand(size, -1)).clone()
    mask_below_min_p(z, [truncation] * size)
    favoured = z + padded(torch.eye(size) * 1e4)
    _, token = draw_truncated(z, favoured, [truncation] * size)
    return {i for i, drawn in enumerate(token.flatten().tolist()) if drawn == i}


def warpers(truncation: Truncation, *, temperature: float = 1.0) -> LogitsProcessorList:
    """The same stages by transformers, in its `generate` order."""
    stages = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if truncation.top_k:
        stages.append(TopKLogitsWarper(truncation.top_k))
    if truncation.top_p < 1:
        stages.append(TopPLogitsWarper(truncation.top_p))
    if truncation.min_p:
        stages.append(MinPLogitsWarper(truncation.min_p))
    return stages


def gaussian(size: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 2


@settings(deadline=None)
@given(
    st.lists(st.integers(-30, 30).map(lambda x: x / 4), min_size=1, max_size=90),
    st.builds(
        Truncation,
        min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        top_k=st.sampled_from([0, 1, 3, 20, 64, 10**6]),
        top_p=st.sampled_from([1.0, 1e-9, 0.3, 0.5, 0.9, 0.999]),
    ),
)
def test_the_kept_tokens_are_those_of_the_reference(logits: Sequence[float], truncation: Truncation) -> None:
    def reference(factor: float) -> set[int]:
        return set(
            reference_sampler.kept(
                logits,
                SamplingParams(
                    seed=0,
                    max_tokens=1,
                    min_p=truncation.min_p * min(factor, 1.0),
                    top_k=truncation.top_k,
                    top_p=min(truncation.top_p * factor, 1.0),
                ),
            )
        )

    assume(reference(1 - 1e-5) == reference(1 + 1e-5) == reference(1.0))
    assert kept(torch.tensor(logits), truncation) == reference(1.0)


@pytest.mark.parametrize("truncation", SETTINGS, ids=str)
@pytest.mark.parametrize("size", [50, 500])
def test_the_kept_tokens_are_those_of_transformers(truncation: Truncation, size: int) -> None:
    logits = gaussian(size)
    warped = warpers(truncation)(torch.zeros((1, 1), dtype=torch.int64), logits.unsqueeze(0))
    assert kept(logits, truncation) == set(warped[0].isfinite().nonzero().flatten().tolist())


@pytest.mark.parametrize("truncation", SETTINGS, ids=str)
def test_the_drawn_token_is_the_best_of_noise_on_transformers_scores(truncation: Truncation) -> None:
    noise = GumbelNoise(512, device=CPU)
    sampler = Sampler(vocabulary_size=500, max_slots=1, eos_token_ids=[], device=CPU)
    for seed in range(30):
        logits = gaussian(500, seed=seed)
        params = SamplingParams(
            seed=seed,
            max_tokens=1,
            temperature=0.8,
            top_k=truncation.top_k,
            top_p=truncation.top_p,
            min_p=truncation.min_p,
        )
        sampler.assign(0, params, [])
        warped = warpers(truncation, temperature=0.8)(torch.zeros((1, 1), dtype=torch.int64), logits.unsqueeze(0))[0]
        expected = (warped + noise.rows([noise_key(seed, 0)])[0, :500]).argmax().item()
        assert sampler.sample(logits.unsqueeze(0), [0])[0].token_id == expected


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    logits = gaussian(100)
    prompt, generated = [3, 3, 70, 71], [8, 70]
    params = SamplingParams(seed=0, max_tokens=1, repetition_penalty=1.3)
    penalties = Penalties(params, prompt, generated, width=100, device=CPU)
    penalties.count(99)
    row = logits.clone()
    penalties.apply(row)
    ids = torch.tensor([[*prompt, *generated, 99]])
    torch.testing.assert_close(row, RepetitionPenaltyLogitsProcessor(1.3)(ids, logits.unsqueeze(0))[0])


def test_the_cut_between_equal_tokens_keeps_the_lowest_ids() -> None:
    assert kept(torch.zeros(100), Truncation(top_k=3)) == {0, 1, 2}
    assert kept(torch.zeros(100), Truncation(top_p=0.0201)) == {0, 1, 2}


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_row_argmax_finds_the_first_of_the_largest(size: int) -> None:
    rows = torch.randint(0, 4, (20, size), generator=torch.Generator().manual_seed(size)).float()
    values, indices = row_argmax(padded(rows))
    assert values.flatten().tolist() == [max(row) for row in rows.tolist()]
    assert indices.flatten().tolist() == [row.index(max(row)) for row in rows.tolist()]
    assert torch.equal(row_max(padded(rows)), values)
