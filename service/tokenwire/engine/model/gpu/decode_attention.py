"""Attention of sequences of one query, or a few, over the paged cache, in Triton.

The keys of a sequence are split into runs of a fixed length (flash-decoding; Dao et al. 2023). A fixed number of
programs takes the splits in turn, so that one launch, and one CUDA graph, fits every mix of lengths; a small kernel
merges the splits of each row in order. The query heads that share a key head are the rows of one product, and so are
the queries of a sequence.
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from tokenwire.engine.model.attention import LayerShape
from tokenwire.engine.model.gpu.kernels.decode_attention import attend_splits, merge_splits

_LOG2_E = 1.4426950408889634


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the work is cut. Unmeasured guesses, from the sizes of an H100's memories."""

    split: int = 256
    """Keys of a split."""
    block_keys: int = 64
    """Keys that a program works on at once; divides `split`."""
    num_warps: int = 4
    num_stages: int = 4
    programs_per_processor: int = 4


@dataclass(frozen=True, slots=True)
class Workspace:
    """Room for the splits of a step, shared by all layers. In float32."""

    partials: Tensor
    """[items × queries, H, D] weighted sums of values."""
    stats: Tensor
    """[items × queries, H, 2]: largest score and sum of weights."""

    @classmethod
    def allocate(cls, rows: int, shape: LayerShape, device: torch.device) -> "Workspace":
        """Room for `rows` = items × queries."""
        return cls(
            torch.empty(rows, shape.num_heads, shape.value_dim, dtype=torch.float32, device=device),
            torch.empty(rows, shape.num_heads, 2, dtype=torch.float32, device=device),
        )


@dataclass(frozen=True, slots=True)
class DecodeAttention:
    """The attention of layers of one shape."""

    shape: LayerShape
    block_size: int
    scale: float
    window: int | None
    num_programs: int
    """For each key head."""
    tuning: Tuning

    def __call__(
        self,
        qkv: Tensor,
        keys: Tensor,
        values: Tensor,
        plan: Tensor,
        workspace: Workspace,
        out: Tensor,
        *,
        queries: int,
    ) -> None:
        """Attend with the rows of a plan (see plan.py), whose sequences have at most `queries` queries.

        `qkv` [T, (H + 2 Hkv) · D] begins with the queries; `keys` and `values` are [rows, Hkv, D]. Writes `out`
        [N, H, D] for N ≤ T; rows without items become 0.
        """
        heads, dim = self.shape.num_heads, self.shape.key_dim
        group = heads // self.shape.num_kv_heads
        block_dim = triton.next_power_of_2(dim)
        attend_splits[(self.num_programs, self.shape.num_kv_heads)](
            qkv,
            keys,
            values,
            plan,
            workspace.partials,
            workspace.stats,
            self.scale * _LOG2_E,
            qkv.stride(0),
            HEADS=heads,
            KV_HEADS=self.shape.num_kv_heads,
            DIM=dim,
            BLOCK_DIM=block_dim,
            BLOCK_SIZE=self.block_size,
            QUERIES=queries,
            BLOCK_ROWS=max(16, triton.next_power_of_2(queries * group)),  # 16 is the least of a tensor core
            SPLIT=self.tuning.split,
            BLOCK_KEYS=self.tuning.block_keys,
            WINDOW=self.window or 0,
            num_warps=self.tuning.num_warps,
            num_stages=self.tuning.num_stages,
        )
        merge_splits[(len(out), heads)](
            plan,
            workspace.partials,
            workspace.stats,
            out,
            HEADS=heads,
            DIM=dim,
            BLOCK_DIM=block_dim,
            QUERIES=queries,
            num_warps=1,
        )
