"""Choosing one token in each row of scores, without sorting the vocabulary.

Rows are as wide as a multiple of `BLOCK`; columns beyond the vocabulary hold −inf. Every reduction goes block by block,
which is fast on the CPU and makes a row's result independent, bit by bit, of the rows beside it. Ties go to the lowest
token id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from tokenwire.engine.model.staging import stage

BLOCK = 64


def padded_width(vocabulary_size: int) -> int:
    """The smallest multiple of `BLOCK` that holds the vocabulary."""
    return -(-vocabulary_size // BLOCK) * BLOCK


def padded(rows: torch.Tensor) -> torch.Tensor:
    """`rows` [R, V] with −inf columns up to the padded width; the same tensor where none are needed."""
    missing = padded_width(rows.shape[1]) - rows.shape[1]
    return torch.cat([rows, rows.new_full((rows.shape[0], missing), -torch.inf)], dim=1) if missing else rows


def in_blocks(rows: torch.Tensor) -> torch.Tensor:
    """`rows` [R, W] as [R, W / BLOCK, BLOCK]."""
    return rows.reshape(rows.shape[0], -1, BLOCK)


def row_max(rows: torch.Tensor) -> torch.Tensor:
    """Largest value of each row, [R, 1]; NaN where a row has one."""
    return in_blocks(rows).amax(2).amax(1, keepdim=True)


def row_argmax(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest value and its (lowest) index in each row, both [R, 1]."""
    blocks = in_blocks(rows)  # [R, V / BLOCK, BLOCK]
    maxima = blocks.amax(2)
    block = maxima.argmax(1, keepdim=True)
    best = blocks.gather(1, block.unsqueeze(2).expand(-1, -1, BLOCK)).squeeze(1)  # [R, BLOCK]
    return maxima.gather(1, block), block * BLOCK + best.argmax(1, keepdim=True)


def _row_sum(rows: torch.Tensor) -> torch.Tensor:
    """Sum of each row, [R, 1]."""
    return in_blocks(rows).sum(2).sum(1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Truncation:
    """Which tokens a row may draw."""

    min_p: float = 0.0
    """Least probability, relative to the most likely token's. 0 is off."""
    top_k: int = 0
    """Number of most likely tokens. 0 is off."""
    top_p: float = 1.0
    """The most likely tokens whose probabilities sum to this, renormalised after min-p and top-k. 1 is off."""

    @property
    def cuts_by_rank(self) -> bool:
        """Whether a token's place among the others matters, not only its own probability."""
        return self.top_k > 0 or self.top_p < 1


def mask_below_min_p(z: torch.Tensor, truncations: Sequence[Truncation]) -> None:
    """Ban, in place, tokens below min-p. `z` [R, W] has maximum 0 in each row."""
    if any(truncation.min_p > 0 for truncation in truncations):
        least = stage([[truncation.min_p] for truncation in truncations], device=z.device).log()
        z.masked_fill_(z < least, -torch.inf)


def draw_truncated(
    z: torch.Tensor, scores: torch.Tensor, truncations: Sequence[Truncation]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best-scored token among those that top-k and top-p keep, as (score, index), both [R, 1].

    `z` [R, W] are log-probabilities up to a constant, with maximum 0 in each row; `scores` are `z` plus noise.

    A token is kept if few enough tokens (top-k), and tokens of little enough probability (top-p), stand before it in
    the order of probability. That is a count and a sum over the row, so nothing is sorted: draw from all, and if the
    drawn token is not kept, neither is any token after it; draw again among those before it. With Gumbel noise the
    result has exactly the truncated distribution, after 1 + ln(1 / probability of the kept tokens) rounds or so.
    """
    top_k = stage([[t.top_k or z.shape[1]] for t in truncations], device=z.device)
    # The sum before the most likely token, 0, must stay below any top-p.
    top_p = stage([[max(t.top_p, 1e-30) if t.top_p < 1 else torch.inf] for t in truncations], device=z.device)
    weights = z.exp()
    mass = top_p * _mass(weights, truncations)
    if z.is_cuda and find_spec("triton") is not None:
        from tokenwire.engine.sampling.device_draw import draw_kept  # not at the top: it imports Triton

        return draw_kept(z, scores, weights, top_k, mass)
    return draw_kept_in_rounds(z, scores, weights, top_k, mass)


def draw_kept_in_rounds(
    z: torch.Tensor, scores: torch.Tensor, weights: torch.Tensor, top_k: torch.Tensor, mass: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by torch: `weights` [R, W] are exp(z), and a token is kept with fewer than `top_k` [R, 1] tokens, of
    weights that sum to less than `mass` [R, 1], before it."""
    score, token = z.new_empty((z.shape[0], 1)), torch.empty_like(top_k)
    rows = torch.arange(z.shape[0], device=z.device)
    while True:
        value, index = row_argmax(scores)
        score[rows], token[rows] = value, index
        before = _before(z, index)
        is_kept = (_row_sum(before) < top_k) & (_row_sum(weights * before) < mass)
        # A row with no finite score has nothing to draw; it ends here, and the caller sees the score.
        again = (~is_kept & value.isfinite()).squeeze(1).nonzero().squeeze(1)
        if not len(again):
            return score, token
        scores = scores[again].masked_fill_(before[again] == 0, -torch.inf)
        rows, z, weights, top_k, mass = rows[again], z[again], weights[again], top_k[again], mass[again]


def _before(z: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Which tokens stand before token `index` [R, 1] in the order of `z` [R, W], as 0.0 and 1.0, [R, W].

    Not as bool: on the CPU, torch compares into floats several times faster.
    """
    level = z.gather(1, index)
    ids = torch.arange(z.shape[1], dtype=torch.float32, device=z.device)  # exact below 2^24
    before = torch.eq(z, level, out=torch.empty_like(z))
    before *= torch.lt(ids, index.float(), out=torch.empty_like(z))
    before += torch.gt(z, level, out=torch.empty_like(z))
    return before


def _mass(weights: torch.Tensor, truncations: Sequence[Truncation]) -> torch.Tensor:
    """Sum of the weights that top-k keeps, [R, 1]."""
    mass = _row_sum(weights)
    limited = [row for row, t in enumerate(truncations) if 0 < t.top_k < weights.shape[1] and t.top_p < 1]
    if limited:
        counts = stage([[truncations[row].top_k] for row in limited], device=weights.device)
        rows = stage(limited, device=weights.device)
        # Equal values are equal weights: which of them topk returns does not matter for the sum.
        largest = weights.index_select(0, rows).topk(max(truncations[row].top_k for row in limited), dim=1).values
        mass.index_copy_(0, rows, largest.cumsum(1).gather(1, counts - 1))
    return mass
