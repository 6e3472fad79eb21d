"""Linear layers of a CPU model with their weights packed once for oneDNN's matrix product.

torch's own product repacks the weights in every call, and runs a single row on one thread. Measured on two AVX2
cores, all linear layers of SmolLM2-135M in fp32, ms for 1 / 8 / 32 rows: torch 45 / 104 / 156, packed 31 / 44 / 100.

The two operators are those that torch's compiler uses; they are not public, so they are looked for before use, and
where they are missing the model keeps torch's layers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tokenwire.engine.model.parallel.shards import ShardedLinear
from tokenwire.engine.model.stable_rows import StableLinear, StableRows

# The rows that the layout is made for; it serves any number of rows (measured: 1 to 128).
_PACKED_FOR_ROWS = 8


class PackedLinear(nn.Module):
    """y = x Wᵀ + b with W in oneDNN's layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """`weight` is [out, in], `bias` [out] or None."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _PACKED_FOR_ROWS)
        self._bias = None if bias is None else bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return y


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and the model is one that they are faster for."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def make_linear(layers: Sequence[Any], *, pack: bool, rows: StableRows | None) -> nn.Module:
    """One layer whose output is the outputs of several `nn.Linear` layers of the same input, side by side."""
    if isinstance(layers[0], ShardedLinear):
        (sharded,) = layers
        return ShardedLinear(make_linear([sharded.part], pack=pack, rows=rows), sharded.join)
    return _stable(_merge(layers, pack=pack), rows, width=sum(layer.out_features for layer in layers))


def _merge(layers: Sequence[Any], *, pack: bool) -> nn.Module:
    if len(layers) == 1 and not pack:
        only: nn.Module = layers[0]
        return only  # without a copy of the weight, which the embedding may share
    weight = torch.cat([layer.weight.detach() for layer in layers])
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers])
    if pack:
        return PackedLinear(weight, bias)
    merged = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    merged.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        merged.bias = nn.Parameter(bias, requires_grad=False)
    return merged


def replace_linears(model: nn.Module, *, pack: bool, rows: StableRows | None) -> None:
    """Replace the linear layers of a model, one after the other, so that only one is in memory twice at a time."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                linear = PackedLinear(child.weight, child.bias) if pack else child
                setattr(module, name, _stable(linear, rows, width=child.out_features))
            elif type(child) is Conv1D:
                setattr(module, name, _replace_conv1d(child, pack=pack, rows=rows))


def _replace_conv1d(layer: Any, *, pack: bool, rows: StableRows | None) -> nn.Module:
    """GPT-2's linear layer, with the weight the other way round."""
    linear = PackedLinear(layer.weight.t(), layer.bias) if pack else layer
    return _stable(linear, rows, width=layer.nf)


def _stable(linear: nn.Module, rows: StableRows | None, *, width: int) -> nn.Module:
    return linear if rows is None else StableLinear(linear, rows, width=width)
