"""Noise is the hash it is said to be, and behaves like independent standard Gumbel noise."""

import math

import pytest
import torch

from support import reference_sampler
from tokenwire.engine.sampling.noise import GumbelNoise, gumbel, noise_key

CPU = torch.device("cpu")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def uniforms(keys: list[int], *, width: int = 4096) -> torch.Tensor:
    """Noise mapped to [0, 1] by the Gumbel distribution, float64, [len(keys), width]."""
    return GumbelNoise(width, device=CPU).rows(keys).double().neg().exp().neg().exp()


def excess(observed: torch.Tensor, expected: torch.Tensor | float) -> float:
    """Chi-squared as a number of standard deviations above its mean."""
    expectation = torch.as_tensor(expected, dtype=torch.float64).expand(observed.shape)
    statistic = ((observed.double() - expectation) ** 2 / expectation).sum().item()
    freedom = observed.numel() - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def pair_excess(a: torch.Tensor, b: torch.Tensor, *, bins: int = 16) -> float:
    """How far the pairs (a_i, b_i) of uniforms are from independent."""
    cells = (a * bins).long().clamp(max=bins - 1) * bins + (b * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(cells.flatten(), minlength=bins * bins)
    return excess(counts, cells.numel() / bins**2)


@pytest.mark.parametrize("seed", [0, 1, -1, 42, 2**32, -(2**32), INT64_MIN, INT64_MAX])
@pytest.mark.parametrize("position", [0, 1, 511, 2**20])
def test_hash_equals_the_plain_python_one(seed: int, position: int) -> None:
    words = GumbelNoise(50_000, device=CPU).hash([noise_key(seed, position)])[0]
    for token_id in (0, 1, 2, 63, 64, 12345, 49_999):
        assert words[token_id].item() == reference_sampler.noise_word(seed, position, token_id)


def test_hash_of_known_inputs_never_changes() -> None:
    words = GumbelNoise(64, device=CPU).hash([noise_key(0, 0), noise_key(1234, 56)])
    assert words[:, [0, 1, 63]].tolist() == [[356474774, -522591195, 1978450071], [432621492, 1463107761, 450899458]]


def test_noise_equals_the_double_precision_one() -> None:
    noise = GumbelNoise(512, device=CPU).rows([noise_key(7, 3)])[0]
    expected = torch.tensor([reference_sampler.gumbel(7, 3, i) for i in range(512)], dtype=torch.float64)
    torch.testing.assert_close(noise.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_row_is_the_same_bits_alone_and_among_others() -> None:
    noise = GumbelNoise(49_152, device=CPU)
    keys = [noise_key(seed, 9) for seed in range(7)]
    together = noise.rows(keys).clone()
    assert all(torch.equal(noise.rows([key])[0], row) for key, row in zip(keys, together, strict=True))


def test_noise_is_finite_even_for_the_extreme_words() -> None:
    values = gumbel(torch.tensor([0, 1, -1, 2**31 - 1, -(2**31)], dtype=torch.int32), out=torch.empty(5))
    assert values.isfinite().all()
    assert values[0] > values[1] == values[2] > 0 > values[3] == values[4]


@pytest.mark.parametrize(
    "keys",
    [[noise_key(seed, 0) for seed in range(256)], [noise_key(0, position) for position in range(256)]],
    ids=["seeds", "positions"],
)
def test_noise_follows_the_gumbel_distribution(keys: list[int]) -> None:
    values = uniforms(keys)
    assert excess(torch.histc(values, bins=256, min=0, max=1), values.numel() / 256) < 4
    # The tail decides how often rare tokens win: 1 − F halves with each step.
    tail = torch.stack([(values > 1 - 2.0**-k).sum() for k in range(8, 14)]).double()
    expected = values.numel() * torch.tensor([2.0**-k for k in range(8, 14)])
    assert ((tail - expected).abs() < 4 * expected.sqrt()).all()


def test_neighbouring_positions_seeds_and_tokens_are_independent() -> None:
    grid = torch.stack([uniforms([noise_key(seed, p) for p in range(17)], width=2048) for seed in range(17)])
    # [seed, position, token id]
    assert pair_excess(grid[:, :-1], grid[:, 1:]) < 4
    assert pair_excess(grid[:-1], grid[1:]) < 4
    assert pair_excess(grid[..., :-1], grid[..., 1:]) < 4
    assert pair_excess(grid[1:, :-1], grid[:-1, 1:]) < 4
    assert pair_excess(grid[:, :-1, :-1], grid[:, 1:, 1:]) < 4


def test_any_two_tokens_are_independent_over_many_draws() -> None:
    values = uniforms([noise_key(3, position) for position in range(4096)], width=64)
    worst = max(pair_excess(values[:, i], values[:, j], bins=8) for i in range(64) for j in range(i))
    # The largest of 2016 comparisons.
    assert worst < 6


def test_every_token_wins_equally_often_among_equals() -> None:
    noise = GumbelNoise(64, device=CPU)
    winners = noise.rows([noise_key(seed, 5) for seed in range(64_000)]).argmax(1)
    assert excess(torch.bincount(winners, minlength=64), 1000) < 4


def test_rare_tokens_win_as_often_as_their_probability_says() -> None:
    probabilities = torch.cat([torch.tensor([0.99]), torch.full((1023,), 0.01 / 1023)])
    noise = GumbelNoise(1024, device=CPU)
    draws = 40_000
    keys = [noise_key(11, position) for position in range(draws)]
    winners = (noise.rows(keys).add_(probabilities.log())).argmax(1)
    expected = draws * 0.01
    assert abs(int((winners > 0).sum()) - expected) < 4 * math.sqrt(expected)
