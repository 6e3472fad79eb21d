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
    weight = torch.cat([layer.weight.detach() for layer in layers]).contiguous()
    bias = None if layers[0].bias is None else torch.cat([layer.bias.detach() for layer in layers]).contiguous()
    for format_ in formats:
        rounded = weight.clone()
        packed = _pack(library, format_, rounded)
        if _is_same(rounded, weight):
            break
    for layer, part in zip(layers, torch.split(rounded, [layer.out_features for layer in layers]), strict=True):
        layer.weight.detach().copy_(part)
    return PackedLinear(format_, packed, bias, *weight.shape)


def _pack(library: ctypes.CDLL, format_: Format, weight: Tensor) -> Tensor:
    """The packed form; `weight` [out, in] becomes what it stands for."""
    packed = torch.empty(library.packed_bytes(format_, *weight.shape), dtype=torch.uint8)
    library.pack_weights(format_, *weight.shape, weight.data_ptr(), packed.data_ptr())
    return packed


def _is_same(rounded: Tensor, weight: Tensor) -> bool:
    return bool((rounded - weight).abs().max() <= _SAME * weight.abs().max())
