"""Attention over the paged cache in C, against float64 and itself bit by bit."""

import math
import random
from itertools import product

import pytest
import torch
from torch import Tensor

from support.native import Native, PagedKeys, needs_compiler

pytestmark = needs_compiler

LENGTH = 53
BLOCK_SIZES = [1, 3, 16, 32]
DIMS = [8, 16, 20, 64, 80]
WINDOWS = [0, 1, 5, 40]
"""0: none."""
KV_HEADS = 2


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class Text:
    """One sequence's keys, values and queries, and float64's answers."""

    def __init__(self, *, dim: int, group: int) -> None:
        self.dim = dim
        self.keys, self.values = torch.randn(2, LENGTH, KV_HEADS, dim)
        self.queries = torch.randn(LENGTH, KV_HEADS, group, dim) * 2

    def cached(self, native: Native, block_size: int) -> tuple[PagedKeys, list[int]]:
        """In scattered blocks; all other places of the cache are NaN."""
        count = -(-LENGTH // block_size)
        cache = PagedKeys.empty(kv_heads=KV_HEADS, blocks=count + 3, block_size=block_size, dim=self.dim)
        table = random.Random(0).sample(range(count + 3), count)
        native.write(cache, table, self.keys, self.values)
        return cache, table

    def expected(self, window: int) -> Tensor:
        """[LENGTH, KV_HEADS, group, dim], float64."""
        scores = torch.einsum("qhgd,khd->hgqk", self.queries.double(), self.keys.double()) * 0.3
        ages = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
        hidden = (ages < 0) | (ages >= (window or LENGTH))
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        return torch.einsum("hgqk,khd->qhgd", weights, self.values.double())


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("dim", DIMS)
def test_it_attends_as_float64_does_over_scattered_blocks(native: Native, block_size: int, dim: int) -> None:
    for group, window in zip(range(1, 9), WINDOWS * 2, strict=True):
        text = Text(dim=dim, group=group)
        cache, table = text.cached(native, block_size)
        out = native.attend(cache, table, text.queries, first=0, window=window)
        torch.testing.assert_close(out.double(), text.expected(window), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dim", [16, 20])
@pytest.mark.parametrize("window", [0, 5, 40])
def test_a_query_is_the_same_bits_however_the_prompt_is_cut_and_the_cache_is_laid_out(
    native: Native, dim: int, window: int
) -> None:
    text = Text(dim=dim, group=3)
    cache, table = text.cached(native, 16)
    whole = native.attend(cache, table, text.queries, first=0, window=window)
    for block_size, size in product(BLOCK_SIZES, (1, 4, 7, 50)):
        cache, table = text.cached(native, block_size)
        for first in range(0, LENGTH, size):
            part = native.attend(cache, table, text.queries[first : first + size], first=first, window=window)
            assert torch.equal(part, whole[first : first + size])


def test_keys_behind_a_query_do_not_change_its_bits(native: Native) -> None:
    text = Text(dim=20, group=2)
    cache, table = text.cached(native, 16)
    before = native.attend(cache, table, text.queries[:30], first=0)
    native.write(cache, table, torch.cat([text.keys[:30], text.keys[30:] * 9]), text.values)
    assert torch.equal(native.attend(cache, table, text.queries[:30], first=0), before)


def test_very_unequal_scores_do_not_overflow(native: Native) -> None:
    text = Text(dim=16, group=2)
    text.keys[:] = 0
    text.keys[20] = 1e4
    cache, table = text.cached(native, 16)
    out = native.attend(cache, table, torch.ones(1, KV_HEADS, 2, 16), first=LENGTH - 1)
    torch.testing.assert_close(out[0], text.values[20].unsqueeze(1).expand_as(out[0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["keys", "values"])
def test_what_is_not_finite_shows_in_the_answers_of_its_head_alone(native: Native, bad: float, part: str) -> None:
    text = Text(dim=16, group=2)
    getattr(text, part)[20, 1] = bad
    cache, table = text.cached(native, 16)
    out = native.attend(cache, table, text.queries[21:], first=21)
    assert out[:, 0].isfinite().all()
    seen = out[:, 1].isfinite()
    if part == "keys" and bad == math.inf:  # scores of −∞ weigh nothing, as in float64
        expected = text.expected(0)[21:, 1]
        assert torch.equal(seen, expected.isfinite())
    else:
        assert not seen.any()


def test_the_exponential_is_that_of_float64_to_a_few_units_in_the_last_place(native: Native) -> None:
    x = torch.linspace(-87, 88, 1 << 16)
    expected = x.double().exp()
    assert ((native.exp(x).double() - expected).abs() <= 4 * 2**-24 * expected).all()


def test_the_exponential_ends_where_float32_does(native: Native) -> None:
    x = torch.tensor([-math.inf, -1e30, -88.0, 0.0, 88.0, 1e30, math.inf, math.nan]).repeat(2)
    out = native.exp(x)[:8]
    assert out[:4].tolist() == [0, 0, 0, 1]
    assert out[5:7].tolist() == [out[4], out[4]]
    assert out[7].isnan()
