"""The C library of the CPU's forward pass, compiled as a test likes, with functions that only tests call."""

import ctypes
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import tokenwire.engine.model.native as native_package
from tokenwire.engine.model.native.decoder import COMPILE_FLAGS
from tokenwire.engine.model.native.structures import Linear, declare
from tokenwire.engine.model.native.weights import Format

SOURCE_FOLDER = Path(native_package.__file__).parent
SOURCES = [SOURCE_FOLDER / name for name in ("attention.c", "decoder.c", "linear.c", "team.c")]
PROBE = Path(__file__).with_name("native_probe.c")
BUILDS = {"this processor": "-march=native", "plain C": "-march=x86-64"}
"""What they are compiled for: with this processor's vectors, or with those that the compiler makes of plain C."""
GROUP = 32
"""Inputs that share a scale; see `linear.h`."""

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

_POINTER, _INT64 = ctypes.c_void_p, ctypes.c_int64
_CANARY = 16
_UNTOUCHED = -12345.0


class _Cache(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        *((name, _POINTER) for name in ("keys", "values")),
        *((name, _INT64) for name in ("blocks", "block_size", "kv_heads", "head_dim")),
    ]


class _Queries(ctypes.Structure):
    _fields_: ClassVar[Any] = [
        *((name, _POINTER) for name in ("queries", "out")),
        *((name, _INT64) for name in ("stride", "out_stride", "count", "first", "group")),
        ("table", _POINTER),
        ("window", _INT64),
        ("scale", ctypes.c_float),
    ]


class Rows(ctypes.Structure):
    """`Rows` of `linear.h`."""

    _fields_: ClassVar[Any] = [(name, _POINTER) for name in ("floats", "numbers", "scales", "sums")]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Rows as 16-bit numbers, a scale for each group of them."""

    numbers: Tensor
    """[rows, groups, GROUP]; those behind the last input are 0."""
    scales: Tensor
    """[rows, groups]"""
    sums: Tensor
    """[rows, groups]"""

    def values(self, inputs: int) -> Tensor:
        """What they stand for: [rows, inputs], float64."""
        return (self.numbers.double() * self.scales.double().unsqueeze(-1)).flatten(1)[:, :inputs]


@dataclass(frozen=True, slots=True)
class Packed:
    """Packed weights, and what they stand for."""

    format: Format
    bytes: Tensor
    weight: Tensor
    """[outputs, inputs]"""


@dataclass(frozen=True, slots=True)
class PagedKeys:
    """A cache of one layer, all NaN until something is written."""

    keys: Tensor
    """[kv heads, blocks, head_dim, block size]"""
    values: Tensor
    """[kv heads, blocks, block size, head_dim]"""

    @classmethod
    def empty(cls, *, kv_heads: int, blocks: int, block_size: int, dim: int) -> "PagedKeys":
        """One that has no key."""
        return cls(
            torch.full((kv_heads, blocks, dim, block_size), torch.nan),
            torch.full((kv_heads, blocks, block_size, dim), torch.nan),
        )

    @property
    def structure(self) -> _Cache:
        """For C; valid as long as this object lives."""
        return _Cache(self.keys.data_ptr(), self.values.data_ptr(), self.block_count, self.block_size, *self._heads)

    @property
    def block_count(self) -> int:
        """Blocks of each head."""
        return self.values.shape[1]

    @property
    def block_size(self) -> int:
        """Positions of each block."""
        return self.values.shape[2]

    @property
    def _heads(self) -> tuple[int, int]:
        return self.values.shape[0], self.values.shape[3]


@dataclass(frozen=True, slots=True)
class Native:
    """The library's functions on tensors."""

    library: ctypes.CDLL

    def pack(self, format_: Format, weight: Tensor) -> Packed:
        """Weights [outputs, inputs], which are left alone."""
        weight = weight.clone()
        packed = torch.full((self.library.packed_bytes(format_, *weight.shape),), 255, dtype=torch.uint8)
        self.library.pack_weights(format_, *weight.shape, weight.data_ptr(), packed.data_ptr())
        return Packed(format_, packed, weight)

    def quantise(self, x: Tensor) -> Numbers:
        """Rows [rows, inputs]."""
        rows, inputs = x.shape
        groups = -(-inputs // GROUP)
        numbers = Numbers(
            torch.empty(rows, groups, GROUP, dtype=torch.int16), torch.empty(rows, groups), torch.empty(rows, groups)
        )
        for row in range(rows):
            places = (part[row].data_ptr() for part in (numbers.numbers, numbers.scales, numbers.sums))
            self.library.quantise(x[row].contiguous().data_ptr(), inputs, *places)
        return numbers

    def multiply(
        self,
        packed: Packed,
        x: Tensor,
        *,
        bias: Tensor | None = None,
        add_to: Tensor | None = None,
        row_steps: int = 1 << 20,
        panel_steps: int = 1 << 20,
    ) -> Tensor:
        """Rows [rows, inputs] → [rows, outputs], so many rows and panels at a time."""
        outputs, inputs = packed.weight.shape
        x = x.contiguous()
        out = torch.full((len(x), outputs), torch.nan) if add_to is None else add_to.clone()
        numbers = self.quantise(x)
        rows = Rows(*(part.data_ptr() for part in (x, numbers.numbers, numbers.scales, numbers.sums)))
        bias_place = None if bias is None else bias.data_ptr()
        linear = Linear(packed.format, outputs, inputs, packed.bytes.data_ptr(), bias_place)
        panels = -(-outputs // 16)
        for begin in range(0, len(x), row_steps):
            for first in range(0, panels, panel_steps):
                ends = min(begin + row_steps, len(x)), first, min(first + panel_steps, panels)
                self.library.linear_panels(linear, rows, out.data_ptr(), begin, *ends, add_to is not None)
        return out

    def write(self, cache: PagedKeys, table: Sequence[int], keys: Tensor, values: Tensor) -> None:
        """Keys and values [positions, kv heads, head_dim] of a sequence from its beginning on."""
        for position, (key, value) in enumerate(zip(keys, values, strict=True)):
            block, offset = table[position // cache.block_size], position % cache.block_size
            for head in range(len(key)):
                places = key[head].data_ptr(), value[head].data_ptr()
                self.library.cache_write(cache.structure, head, block, offset, *places)

    def attend(
        self,
        cache: PagedKeys,
        table: Sequence[int],
        queries: Tensor,
        *,
        first: int,
        scale: float = 0.3,
        window: int = 0,
    ) -> Tensor:
        """Queries [count, kv heads, group, head_dim] from position `first` on → as queries."""
        count, kv_heads, group, dim = queries.shape
        queries = queries.contiguous()
        out = torch.full_like(queries, torch.nan)
        blocks = torch.tensor(table, dtype=torch.int32)
        stride = kv_heads * group * dim
        for head in range(kv_heads):
            places = queries[:, head].data_ptr(), out[:, head].data_ptr()
            asked = _Queries(*places, stride, stride, count, first, group, blocks.data_ptr(), window, scale)
            scratch = torch.full((self.library.attention_scratch(asked, dim) + _CANARY,), _UNTOUCHED)
            self.library.attend(cache.structure, head, asked, scratch.data_ptr())
            assert (scratch[-_CANARY:] == _UNTOUCHED).all(), "it wrote behind its scratch"
        return out

    def exp(self, x: Tensor) -> Tensor:
        """Of a multiple of 16 numbers."""
        out = x.clone()
        self.library.probe_exp(out.data_ptr(), len(out))
        return out

    def walk(self, *, threads: int, runs: int, steps: int, cells: Tensor) -> Tensor:
        """Cells [count], int64: each becomes the sum of its neighbours modulo 1000003, `runs * steps` times."""
        both = torch.cat([cells, torch.zeros_like(cells)])
        assert self.library.probe_team(threads, runs, steps, both.data_ptr(), len(cells)) == 0
        return both[: len(cells)]


def build(folder: Path, architecture: str) -> Native:
    """Compile it with a value of `BUILDS`. Skips the test where that is another processor's."""
    if architecture == BUILDS["plain C"] and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("plain C is compiled on x86 only: elsewhere the vectors cannot be switched off")
    flags = [architecture if flag.startswith("-march=") else flag for flag in COMPILE_FLAGS]
    library = folder / f"native{architecture}.so"
    command = ["cc", *flags, "-I", str(SOURCE_FOLDER), *map(str, SOURCES), str(PROBE), "-o", str(library), "-lm"]
    subprocess.run(command, check=True, timeout=120)
    return Native(_declare(declare(ctypes.CDLL(str(library)))))


def _declare(library: ctypes.CDLL) -> ctypes.CDLL:
    cache, queries, linear = (ctypes.POINTER(kind) for kind in (_Cache, _Queries, Linear))
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "quantise": (None, [_POINTER, _INT64, _POINTER, _POINTER, _POINTER]),
        "linear_panels": (None, [linear, ctypes.POINTER(Rows), _POINTER, *[_INT64] * 4, ctypes.c_int]),
        "cache_write": (None, [cache, *[_INT64] * 3, _POINTER, _POINTER]),
        "attention_scratch": (_INT64, [queries, _INT64]),
        "attend": (None, [cache, _INT64, queries, _POINTER]),
        "probe_exp": (None, [_POINTER, _INT64]),
        "probe_team": (ctypes.c_int, [ctypes.c_int, ctypes.c_long, ctypes.c_long, _POINTER, ctypes.c_long]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
