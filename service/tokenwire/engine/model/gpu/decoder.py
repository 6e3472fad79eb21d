"""The forward pass of Llama-shaped decoders on a CUDA device.

Merged projections are cuBLAS products; what is between them are the kernels of this package. Rows of short sequences
(decodes, and the few tokens of a speculation) come first in a batch and share one attention; prompts follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tokenwire.engine.model.attention import AttentionBatch, AttentionLayer, LayerShape
from tokenwire.engine.model.gpu.decode_attention import DecodeAttention, Tuning, Workspace
from tokenwire.engine.model.gpu.fused import HeadNorms, add_norm, rotate_and_store, silu_mul
from tokenwire.engine.model.gpu.graphs import MOST_ROWS, StepGraphs, StepInputs, padded_rows
from tokenwire.engine.model.gpu.linear import MergedLinear
from tokenwire.engine.model.gpu.plan import DecodePlan, make_plan
from tokenwire.engine.model.gpu.prefill import PrefillPlan, prefill_attention
from tokenwire.engine.model.stable_rows import StableRows
from tokenwire.engine.protocol import EngineStartError

_SHORT = 8
"""Queries of a sequence that the decode attention takes."""
_GRAPH_WORKSPACE_BYTES = 256 << 20
_INTERPRETED_PROGRAMS = 2
"""Where there is no device, Triton's interpreter runs the kernels, one program after the other."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What the layers share in one step."""

    num_short: int
    """Rows of short sequences, at the front."""
    plan: Tensor
    queries: int
    workspace: Workspace
    prefill: PrefillPlan | None
    positions: Tensor
    write_rows: Tensor
    rotation: tuple[Tensor, Tensor]


class GpuDecoder:
    """Token ids to logits. Takes the weights out of a transformers model, which cannot be used any more."""

    def __init__(
        self,
        model: Any,
        attention: Sequence[AttentionLayer],
        *,
        dtype: torch.dtype,
        device: torch.device,
        rows: StableRows | None,
        tuning: Tuning | None = None,
    ) -> None:
        """`rows`: in deterministic mode."""
        self._dtype = dtype
        self._device = device
        self._rows = rows
        self._tuning = tuning or Tuning()
        self._shape = attention[0].shape
        decoder = model.model
        self._embedding: Tensor = decoder.embed_tokens.weight
        self._rotation = _tabulate(decoder.rotary_emb, model.config.max_position_embeddings, dtype, device)
        self._layers = [_Layer(layer, calls, rows=rows) for layer, calls in zip(decoder.layers, attention, strict=True)]
        self._norm = _Norm(decoder.norm)
        self._head = MergedLinear([model.lm_head], rows=rows)
        self._row_bytes = self._shape.num_heads * (self._shape.value_dim + 2) * torch.float32.itemsize

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """See `Forward`."""
        most_items = _GRAPH_WORKSPACE_BYTES // self._row_bytes
        try:
            for layer in self._layers:
                layer.detach()
            for layer in self._layers:
                layer.attach(num_blocks, block_size, self._dtype, self._device, self._tuning)
            self._workspace = Workspace.allocate(most_items, self._shape, self._device)
            self._logits = torch.empty(MOST_ROWS, self._head.width, dtype=self._dtype, device=self._device)
            # Graphs hold addresses: those of the caches before are of no use any more.
            self._graphs = StepGraphs(self._compute_short, device=self._device, most_items=most_items)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            raise EngineStartError(
                f"no memory for a key-value cache of {num_blocks * block_size} tokens: {error}"
            ) from None

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """See `Forward`."""
        most = 1 if self._rows is not None else _SHORT  # in deterministic mode, one attention for whatever is a prompt
        short = list(takewhile(lambda span: span.num_queries <= most, batch.spans))
        num_short = sum(span.num_queries for span in short)
        has_prefill = num_short < len(token_ids)
        num_rows = num_short if has_prefill else padded_rows(num_short)
        plan = make_plan(
            short,
            num_rows=num_rows,
            split=self._tuning.split,
            queries=1 if len(short) == num_short else _SHORT,
            pin=self._device.type == "cuda",
        )
        inputs = StepInputs(token_ids, positions, batch.write_rows, logit_rows, plan.ints, plan.queries)
        fits = self._graphs.can_run(num_rows=num_rows, num_items=plan.num_items * plan.queries, num_ints=len(plan.ints))
        if not has_prefill and fits and len(logit_rows) <= num_rows:
            variant = 0 if self._rows is None else self._rows.tile or 0
            return self._graphs.run(inputs, num_rows=num_rows, variant=variant)
        prefill = PrefillPlan.of(batch.spans[len(short) :], device=self._device) if has_prefill else None
        return self._compute(inputs, self._workspace_for(plan), num_short=num_short, prefill=prefill)

    def _workspace_for(self, plan: DecodePlan) -> Workspace:
        rows = plan.num_items * plan.queries
        if rows <= len(self._workspace.partials):
            return self._workspace
        return Workspace.allocate(rows, self._shape, self._device)

    def _compute_short(self, inputs: StepInputs) -> Tensor:
        num_rows = len(inputs.token_ids)
        return self._compute(
            inputs, self._workspace, num_short=num_rows, prefill=None, out=self._logits[: len(inputs.logit_rows)]
        )

    def _compute(
        self,
        inputs: StepInputs,
        workspace: Workspace,
        *,
        num_short: int,
        prefill: PrefillPlan | None,
        out: Tensor | None = None,
    ) -> Tensor:
        step = _Step(
            num_short=num_short,
            plan=inputs.plan.to(self._device, non_blocking=True),
            queries=inputs.queries,
            workspace=workspace,
            prefill=prefill,
            positions=inputs.positions,
            write_rows=inputs.write_rows,
            rotation=self._rotation,
        )
        residual = F.embedding(inputs.token_ids, self._embedding)  # [T, C]
        change: Tensor | None = None
        for layer in self._layers:
            change = layer(residual, change, step)
        assert change is not None
        kept = inputs.logit_rows
        return self._head(self._norm(change.index_select(0, kept), residual.index_select(0, kept)), out)


class _Layer:
    """One decoder layer: attention and gated feed-forward, each behind a norm and beside a residual."""

    def __init__(self, layer: Any, attention: AttentionLayer, *, rows: StableRows | None) -> None:
        own = layer.self_attn
        self._shape = attention.shape
        self._scale = attention.shape.key_dim**-0.5 if attention.scaling is None else attention.scaling
        self._window = attention.sliding_window
        self._input_norm = _Norm(layer.input_layernorm)
        self._head_norms = _head_norms(own)
        self._qkv = MergedLinear([own.q_proj, own.k_proj, own.v_proj], rows=rows)
        self._output = MergedLinear([own.o_proj], rows=rows)
        self._mlp_norm = _Norm(layer.post_attention_layernorm)
        self._gate_up = MergedLinear([layer.mlp.gate_proj, layer.mlp.up_proj], rows=rows)
        self._down = MergedLinear([layer.mlp.down_proj], rows=rows)
        # Their weights are in the merged layers now; not in memory twice.
        del layer.self_attn, layer.mlp

    def detach(self) -> None:
        """Free the cache."""
        self._cache: tuple[Tensor, Tensor] | None = None

    def attach(
        self, num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device, tuning: Tuning
    ) -> None:
        """Allocate the cache: keys and values [rows, Hkv, D]; a row is block × block size + offset in the block."""
        rows = num_blocks * block_size
        shape = (rows, self._shape.num_kv_heads, self._shape.key_dim)
        self._cache = (torch.empty(shape, dtype=dtype, device=device), torch.empty(shape, dtype=dtype, device=device))
        self._decode_attention = DecodeAttention(
            self._shape, block_size, self._scale, self._window, count_programs(device, self._shape, tuning), tuning
        )

    def __call__(self, residual: Tensor, change: Tensor | None, step: _Step) -> Tensor:
        """[T, C] and what is still to be added to it → what is to be added next. Changes `residual`."""
        normed = self._input_norm(residual, None) if change is None else self._input_norm(change, residual)
        attended = self._attend(self._qkv(normed), step)
        normed = self._mlp_norm(self._output(attended.flatten(1)), residual)
        return self._down(silu_mul(self._gate_up(normed)))

    def _attend(self, qkv: Tensor, step: _Step) -> Tensor:
        """[T, (H + 2 Hkv) · D] → [T, H, D]."""
        assert self._cache is not None
        shape = self._shape
        rotate_and_store(qkv, step.positions, step.write_rows, step.rotation, self._cache, shape, self._head_norms)
        attended = qkv.new_empty(len(qkv), shape.num_heads, shape.value_dim)
        if step.num_short:
            self._decode_attention(
                qkv,
                *self._cache,
                step.plan,
                step.workspace,
                attended[: step.num_short],
                queries=step.queries,
            )
        if step.prefill is not None:
            heads = qkv[step.num_short :].view(-1, shape.num_heads + 2 * shape.num_kv_heads, shape.key_dim)
            query, key, value = torch.split(heads, [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads], dim=1)
            attended[step.num_short :] = prefill_attention(
                query, key, value, self._cache, step.prefill, scale=self._scale, window=self._window
            )
        return attended


class _Norm:
    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight
        self._epsilon: float = norm.variance_epsilon

    def __call__(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """See `add_norm`."""
        return add_norm(x, residual, self._weight, epsilon=self._epsilon)


def _head_norms(attention: Any) -> HeadNorms | None:
    if not hasattr(attention, "q_norm"):
        return None
    return HeadNorms(attention.q_norm.weight, attention.k_norm.weight, attention.q_norm.variance_epsilon)


def count_programs(device: torch.device, shape: LayerShape, tuning: Tuning) -> int:
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return -(-processors * tuning.programs_per_processor // shape.num_kv_heads)


def _tabulate(rotary: Any, num_positions: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of all positions, [P, D / 2] each: the model's own; its second halves are as the first."""
    like = torch.empty(1, dtype=dtype, device=device)
    cosines, sines = rotary(like, torch.arange(num_positions, device=device).unsqueeze(0))
    half = cosines.shape[-1] // 2
    return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()
