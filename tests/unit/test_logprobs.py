"""Log-probabilities are the model's own, whatever the sampling parameters."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenwire.engine.protocol import SamplingParams, TokenLogprobs
from tokenwire.engine.sampling.logprobs import FLOOR, token_logprobs
from tokenwire.engine.sampling.sampler import Sampler


def reference(row: torch.Tensor, token_id: int, count: int) -> TokenLogprobs:
    """By float64 and a whole sort."""
    logprobs = torch.log_softmax(row.double(), dim=0).tolist()
    order = sorted(range(len(logprobs)), key=lambda i: (-row[i].item(), i))[:count]
    return TokenLogprobs(logprob=max(logprobs[token_id], FLOOR), top=tuple((i, max(logprobs[i], FLOOR)) for i in order))


def assert_close(actual: TokenLogprobs, expected: TokenLogprobs) -> None:
    assert actual.logprob == pytest.approx(expected.logprob, abs=1e-5)
    assert [i for i, _ in actual.top] == [i for i, _ in expected.top]
    assert [x for _, x in actual.top] == pytest.approx([x for _, x in expected.top], abs=1e-5)


@settings(deadline=None)
@given(
    st.lists(st.integers(-20, 20).map(lambda x: x / 4), min_size=1, max_size=300),
    st.integers(0, 20),
)
def test_the_most_likely_tokens_are_those_of_a_whole_sort(logits: list[float], count: int) -> None:
    row = torch.tensor(logits)
    assert_close(token_logprobs(row.unsqueeze(0), [0], [count])[0], reference(row, 0, count))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary_size", [1000, 49_152])
def test_each_row_gets_as_many_as_it_asked(vocabulary_size: int, dtype: torch.dtype) -> None:
    logits = (torch.randn((4, vocabulary_size), generator=torch.Generator().manual_seed(1)) * 4).to(dtype)
    results = token_logprobs(logits, [9, 8, 7, 6], [0, 1, 5, 20])
    for row, result, token_id, count in zip(logits, results, [9, 8, 7, 6], [0, 1, 5, 20], strict=True):
        assert_close(result, reference(row, token_id, count))


def test_impossible_tokens_get_the_floor() -> None:
    row = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert token_logprobs(row, [2], [3]) == [TokenLogprobs(logprob=FLOOR, top=((0, 0.0), (1, FLOOR), (2, FLOOR)))]


def test_bias_penalties_and_temperature_do_not_show() -> None:
    logits = torch.randn((1, 100), generator=torch.Generator().manual_seed(2))
    plain = SamplingParams(seed=1, max_tokens=9, temperature=0.0, logit_bias=((50, 100.0),), top_logprobs=5)
    for params in (plain, replace(plain, temperature=2.0, frequency_penalty=1.5, repetition_penalty=1.5, top_k=3)):
        sampler = Sampler(vocabulary_size=100, max_slots=1, eos_token_ids=[], device=torch.device("cpu"))
        sampler.assign(0, params, [1, 2, 3])
        sample = sampler.sample(logits, [0])[0]
        assert sample.token_id == 50
        assert sample.logprobs is not None
        assert_close(sample.logprobs, reference(logits[0], 50, 5))


def test_none_are_given_unless_asked() -> None:
    logits = torch.zeros(2, 10)
    sampler = Sampler(vocabulary_size=10, max_slots=2, eos_token_ids=[], device=torch.device("cpu"))
    sampler.assign(0, SamplingParams(seed=1, max_tokens=9), [])
    sampler.assign(1, SamplingParams(seed=1, max_tokens=9, top_logprobs=0), [])
    silent, telling = sampler.sample(logits, [0, 1])
    assert silent.logprobs is None
    assert telling.logprobs is not None
    assert telling.logprobs.top == ()
