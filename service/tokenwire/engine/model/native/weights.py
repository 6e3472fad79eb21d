"""Formats of the weights that the native pass reads, and choosing one for each layer."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from tokenwire.engine.model.native.structures import Linear


class Format(IntEnum):
    """How weights are stored; see `linear.h`. The products of fp16 weights are float32's."""

    FP32 = 0
    FP16 = 1
    INT8 = 2
    """A scale for each 32 weights, inputs as 16-bit numbers."""
    INT4 = 3
    """The same with 16 levels between the least and the greatest of the 32."""


@dataclass(frozen=True, slots=True)
class Formats:
    """What the layers' weights, and those of the last product, may be stored in."""

    layers: tuple[Format, ...]
    head: tuple[Format, ...]


FORMATS = {
    "auto": Formats((Format.INT4, Format.INT8), (Format.INT8,)),
    "fp32": Formats((Format.FP32,), (Format.FP32,)),
    "fp16": Formats((Format.FP16,), (Format.FP16,)),
    "int8": Formats((Format.INT8,), (Format.INT8,)),
    "int4": Formats((Format.INT4,), (Format.INT8,)),
}
"""By the name of the option. `auto` takes 4 bits only where the checkpoint had no more."""

_SAME = 1e-4
"""Of the greatest weight: a format that is nowhere further off gives the weights back as they are."""
_FEW_ROWS = 16
"""Tell mostly that a format does not."""


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """A linear layer in the library's layout, with the memory that it points to."""

    format: Format
    packed: Tensor
    bias: Tensor | None
    outputs: int
    inputs: int

    @property
    def structure(self) -> Linear:
        """For C; valid as long as this object lives."""
        bias = None if self.bias is None else self.bias.data_ptr()
        return Linear(self.format, self.outputs, self.inputs, self.packed.data_ptr(), bias)


def pack(library: ctypes.CDLL, layers: Sequence[Any], formats: Sequence[Format]) -> PackedLinear:
    """Pack several `nn.Linear` layers of the same input as one; their weights become what the packed ones stand for.

    Takes the first of `formats` that gives the weights back as they are, else the last.
    """
    weights = [layer.weight.detach() for layer in layers]
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers]).contiguous()
    for format_ in formats[:-1]:
        if _pack(library, format_, [weights[0][:_FEW_ROWS]]).change <= _SAME:  # or the rest need not be tried
            form = _pack(library, format_, weights)
            if form.change <= _SAME:
                break
    else:
        format_ = formats[-1]
        form = _pack(library, format_, weights)
    for weight, part in zip(weights, torch.split(form.rounded, [len(weight) for weight in weights]), strict=True):
        weight.copy_(part)
    return PackedLinear(format_, form.packed, bias, *form.rounded.shape)


@dataclass(frozen=True, slots=True)
class _Form:
    """Weights in a format."""

    packed: Tensor
    rounded: Tensor
    """[out, in]: what the packed ones stand for."""
    change: float
    """Largest of a weight, as a share of the largest weight."""


def _pack(library: ctypes.CDLL, format_: Format, weights: Sequence[Tensor]) -> _Form:
    """Weights [out, in] of the same inputs, one behind the other."""
    rounded = torch.cat([*weights])  # a copy
    packed = torch.empty(library.packed_bytes(format_, *rounded.shape), dtype=torch.uint8)
    change = library.pack_weights(format_, *rounded.shape, rounded.data_ptr(), packed.data_ptr())
    return _Form(packed, rounded, change)
