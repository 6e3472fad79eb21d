"""Linear layers of one input as one product, which can write to memory that is there."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tokenwire.engine.model.stable_rows import StableRows


class MergedLinear:
    """y = x Wᵀ + b, with the outputs of several layers side by side."""

    def __init__(self, layers: Sequence[Any], *, rows: StableRows | None) -> None:
        """`layers`: of type `nn.Linear`; `rows`: in deterministic mode."""
        weights = [layer.weight.detach() for layer in layers]
        self._weight = weights[0] if len(weights) == 1 else torch.cat(weights)  # no copy: an embedding may share it
        self._bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
        self._rows = rows
        if rows is not None:
            rows.widths.add(self.width)

    @property
    def width(self) -> int:
        """Columns of the output."""
        return len(self._weight)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """[T, in] → [T, width], in `out` where it is given."""
        if out is None:
            out = x.new_empty(len(x), self.width)
        tile = len(x) if self._rows is None or self._rows.tile is None else self._rows.tile
        for start in range(0, len(x), max(tile, 1)):
            self._multiply(x[start : start + tile], out[start : start + tile])
        return out

    def _multiply(self, x: Tensor, out: Tensor) -> None:
        if self._bias is None:
            torch.mm(x, self._weight.t(), out=out)
        else:
            torch.addmm(self._bias, x, self._weight.t(), out=out)
