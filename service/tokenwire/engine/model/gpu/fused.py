"""The element-wise parts of a Llama-shaped layer, each as one Triton kernel: what they touch is read and written once.

Sums are in float32, as transformers has them; every row is computed by itself.
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from tokenwire.engine.model.attention import LayerShape
from tokenwire.engine.model.gpu.kernels import fused as kernels

_BLOCK_HEADS = 8
_BLOCK_COLUMNS = 1024


def add_norm(x: Tensor, residual: Tensor | None, weight: Tensor, *, epsilon: float) -> Tensor:
    """Root-mean-square norm (Zhang and Sennrich 2019) of `residual` + `x`, which is written to `residual`; [T, C].

    Without a residual, of `x` alone.
    """
    normed = torch.empty_like(x)
    block = triton.next_power_of_2(x.shape[1])
    kernels.add_norm[(len(x),)](
        x,
        x if residual is None else residual,
        weight,
        normed,
        epsilon,
        WIDTH=x.shape[1],
        BLOCK=block,
        ADDS=residual is not None,
        num_warps=min(16, max(1, block // 512)),
    )
    return normed


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) · up of [T, 2 I], the gates first → [T, I]."""
    width = gate_up.shape[1] // 2
    product = gate_up.new_empty(len(gate_up), width)
    kernels.silu_mul[(len(gate_up), triton.cdiv(width, _BLOCK_COLUMNS))](
        gate_up, product, WIDTH=width, BLOCK=_BLOCK_COLUMNS, num_warps=4
    )
    return product


@dataclass(frozen=True, slots=True)
class HeadNorms:
    """Norms of queries and keys before the rotation, as Qwen 3 has them."""

    query: Tensor
    """[D]"""
    key: Tensor
    epsilon: float


def rotate_and_store(
    qkv: Tensor,
    positions: Tensor,
    write_rows: Tensor,
    rotation: tuple[Tensor, Tensor],
    cache: tuple[Tensor, Tensor],
    shape: LayerShape,
    norms: HeadNorms | None,
) -> None:
    """Rotate the queries and keys of `qkv` [T, (H + 2 Hkv) · D] in place (Su et al. 2021; transformers' halves).

    Keys and values also go to their `write_rows` [T] of the cache, [rows, Hkv, D] each. `rotation`: cosines and sines
    of all positions, [P, D / 2] each.
    """
    heads, kv_heads, half = shape.num_heads, shape.num_kv_heads, shape.key_dim // 2
    kernels.rotate_and_store[(len(qkv), triton.cdiv(heads + 2 * kv_heads, _BLOCK_HEADS))](
        qkv,
        positions,
        write_rows,
        *rotation,
        *cache,
        qkv if norms is None else norms.query,
        qkv if norms is None else norms.key,
        0.0 if norms is None else norms.epsilon,
        HEADS=heads,
        KV_HEADS=kv_heads,
        HALF=half,
        BLOCK_HALF=triton.next_power_of_2(half),
        BLOCK_HEADS=_BLOCK_HEADS,
        NORMS=norms is not None,
        num_warps=2,
    )
