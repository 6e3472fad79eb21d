"""Builds and calls the C kernel of decode attention, for the passes of torch."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokenwire.engine.model.native.library import build_library

# Sums may be reordered into vectors, but NaN and infinity keep their meaning: a sequence that has them must fail.
_FLAGS = (
    *("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-fopenmp"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_ARGUMENTS: list[Any] = [*[_POINTER] * 6, *[_INT64] * 7, ctypes.c_float, _POINTER, ctypes.c_int]


@dataclass(frozen=True, slots=True)
class DecodeAttention:
    """The kernel for one shape of heads, all float32 on the CPU."""

    _function: Any
    value_dim: int

    def __call__(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        tables: "BlockTables",
        *,
        scale: float,
        window: int | None,
    ) -> Tensor:
        """[N, H, Dk] queries over keys [1, Hkv, rows, Dk] and values [1, Hkv, rows, Dv] → [N, H, Dv]."""
        num_sequences, num_heads, _ = query.shape
        _, num_kv_heads, num_rows, _ = keys.shape
        query = query.contiguous()
        out = query.new_empty(num_sequences, num_heads, self.value_dim)
        scratch = query.new_empty(num_sequences * num_heads * tables.max_length)
        self._function(
            *(t.data_ptr() for t in (out, query, keys, values, tables.blocks, tables.lengths)),
            *(num_sequences, num_kv_heads, num_rows, tables.blocks.shape[1], tables.max_length, tables.block_size),
            *(window or 0, scale, scratch.data_ptr(), torch.get_num_threads()),
        )
        return out


@dataclass(frozen=True, slots=True)
class BlockTables:
    """Where the keys of several sequences are."""

    blocks: Tensor
    """[N, max blocks] int32, filled up with zeros."""
    lengths: Tensor
    """[N] int32, keys of each sequence."""
    max_length: int
    block_size: int

    @classmethod
    def of(cls, tables: Sequence[Sequence[int]], lengths: Sequence[int], *, block_size: int) -> "BlockTables":
        """From the block table and the number of keys of each sequence."""
        width = max(map(len, tables))
        padded = [[*table, *[0] * (width - len(table))] for table in tables]
        return cls(
            torch.tensor(padded, dtype=torch.int32),
            torch.tensor(lengths, dtype=torch.int32),
            max(lengths),
            block_size,
        )


def build_decode_attention(*, group: int, key_dim: int, value_dim: int, folder: Path) -> DecodeAttention | None:
    """The kernel for `group` query heads a key head, kept in `folder`; None where it cannot be compiled (logged)."""
    defines = (f"-DGROUP={group}", f"-DKEY_DIM={key_dim}", f"-DVALUE_DIM={value_dim}")
    library = build_library(
        "decode_attention",
        ["decode_attention.c"],
        (*_FLAGS, *defines),
        folder=folder,
        without="torch does the attention, slower for many streams",
    )
    if library is None:
        return None
    function = library.decode_attention
    function.argtypes = _ARGUMENTS
    function.restype = None
    return DecodeAttention(function, value_dim)
