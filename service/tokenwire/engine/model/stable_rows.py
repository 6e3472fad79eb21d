"""Rows of a forward pass whose bits do not depend on the rows beside them: for the deterministic mode.

Two things make them depend. Libraries choose the kernel of a matrix product by the number of rows. And element-wise
functions treat the last few elements of each thread's share, those that do not fill a vector, with other code (silu and
gelu then differ in the last bit). So in this mode batches are filled up to a multiple of rows, products may see them in
tiles of one size, and only products and attention use several threads. What a machine needs is found by trial at load.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tokenwire.engine.model.threads import use_threads
from tokenwire.engine.protocol import EngineStartError

logger = logging.getLogger("tokenwire.engine")

_VECTOR = 16
"""Elements that element-wise functions work on at once, or a multiple of that number."""
_LARGEST_TILE = 64
_CANDIDATES = ((1, None), (4, None), (16, None), (64, _LARGEST_TILE))
"""Multiples of rows with the tiles of products, the cheapest first."""
_TRIED_SIZES = (*range(1, 14), 16, 17, 24, 32, 33, 64)
_COMPARED_ROWS = 64


@dataclass(slots=True)
class StableRows:
    """What makes the rows of a model independent of each other on this machine."""

    num_threads: int
    """Of products and attention; all else is on one."""
    multiple: int = 1
    """Batches are filled up to a multiple of as many rows."""
    tile: int | None = None
    """Rows that a product sees at once; None: all of them."""
    widths: set[int] = field(default_factory=set)
    """Columns of the layers' outputs."""


class StableLinear(nn.Module):
    """A linear layer that sees its rows in tiles, on all threads."""

    def __init__(self, linear: nn.Module, rows: StableRows, *, width: int) -> None:
        super().__init__()
        self._linear = linear
        self._rows = rows
        rows.widths.add(width)

    def forward(self, x: Tensor) -> Tensor:
        """[…, T, in] → […, T, out]; T is a multiple of the tile."""
        with use_threads(self._rows.num_threads):
            if self._rows.tile is None or x.shape[-2] <= self._rows.tile:
                y: Tensor = self._linear(x)
                return y
            return torch.cat([self._linear(tile) for tile in torch.split(x, self._rows.tile, dim=-2)], dim=-2)


def stabilise(
    rows: StableRows,
    forward: Callable[[Tensor, Tensor], Tensor],
    *,
    vocabulary_size: int,
    most_rows: int,
    device: torch.device,
) -> None:
    """Set `rows` to the cheapest way in which every row has the same bits in every batch.

    `forward` gives the logits [R, V] of the chosen rows [R] of a batch [T] of tokens that do not see each other.
    Raises `EngineStartError` where no way does it.
    """
    token_ids = torch.arange(most_rows, device=device) * 97 % vocabulary_size
    for rows.multiple, rows.tile in _CANDIDATES:
        aligned = all(rows.multiple * width % _VECTOR == 0 for width in rows.widths - {vocabulary_size})
        if aligned and _are_stable(forward, token_ids):
            logger.info("deterministic: rows in multiples of %d, products of %s", rows.multiple, rows.tile or "any")
            return
    raise EngineStartError(
        "the matrix products of this device depend on what else is in the batch, even in tiles of "
        f"{_LARGEST_TILE} rows: it cannot serve with --deterministic"
    )


def _are_stable(forward: Callable[[Tensor, Tensor], Tensor], token_ids: Tensor) -> bool:
    """Whether batches of several sizes give the bits of the largest one, at other places in the batch."""
    kept = torch.arange(min(_COMPARED_ROWS, len(token_ids)), device=token_ids.device)
    expected = forward(token_ids, kept)
    sizes: Sequence[int] = [size for size in _TRIED_SIZES if size <= len(token_ids)]
    return all(
        torch.equal(forward(token_ids[:size].roll(1), (kept[:size] + 1) % size), expected[:size]) for size in sizes
    )
