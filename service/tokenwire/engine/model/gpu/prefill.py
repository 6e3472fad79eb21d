"""Attention of prompts and chunks of them: torch's flash attention, or its SDPA where that is not to be had.

The operator is private, so it is looked for by its schema. It reads keys and values that lie in a row: those that the
layer has just computed, or, where a sequence has a prefix in the cache, what is gathered from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tokenwire.engine.model.attention import SequenceSpan
from tokenwire.engine.model.staging import stage

_ARGUMENTS = {
    *("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p", "is_causal"),
    *("return_debug_mask", "scale", "window_size_left", "window_size_right"),
}


@dataclass(frozen=True, slots=True)
class PrefillPlan:
    """The sequences behind the short ones of a batch."""

    spans: Sequence[SequenceSpan]
    query_ends: Tensor
    """[S + 1] rows before each sequence, and of all; int32."""
    key_ends: Tensor
    """The same of keys."""
    cached_rows: Tensor | None
    """[keys] rows of the cache; None where every sequence begins in this batch, and no key is in the cache alone."""

    @classmethod
    def of(cls, spans: Sequence[SequenceSpan], *, device: torch.device) -> "PrefillPlan":
        """Plan these sequences."""
        rows = None
        if any(span.num_keys > span.num_queries for span in spans):
            rows = stage([row for span in spans for row in _rows(span)], device=device)
        return cls(
            spans,
            stage([0, *accumulate(span.num_queries for span in spans)], device=device, dtype=torch.int32),
            stage([0, *accumulate(span.num_keys for span in spans)], device=device, dtype=torch.int32),
            rows,
        )


def prefill_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cached: tuple[Tensor, Tensor],
    plan: PrefillPlan,
    *,
    scale: float,
    window: int | None,
) -> Tensor:
    """`query` [T, H, D], `key` and `value` [T, Hkv, D] of the batch, the cache's [rows, Hkv, D] → [T, H, D]."""
    if plan.cached_rows is not None:
        key, value = (rows.index_select(0, plan.cached_rows) for rows in cached)
    if can_flash(query):
        return _flash(query, key, value, plan, scale=scale, window=window)
    outputs, first_query, first_key = [], 0, 0
    for span in plan.spans:
        outputs.append(
            _attend(
                query[first_query : first_query + span.num_queries],
                key[first_key : first_key + span.num_keys],
                value[first_key : first_key + span.num_keys],
                span,
                scale=scale,
                window=window,
            )
        )
        first_query += span.num_queries
        first_key += span.num_keys
    return torch.cat(outputs)


def can_flash(query: Tensor) -> bool:
    """Whether flash attention takes such queries [T, H, D], on their device."""
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and _has_operator()
    )


@cache
def _has_operator() -> bool:
    """Whether this torch has the operator with the arguments that we give, and none that it wants besides."""
    try:
        arguments = torch.ops.aten._flash_attention_forward.default._schema.arguments
    except AttributeError:
        return False
    names = [argument.name for argument in arguments]
    wanted = [argument.name for argument in arguments if not argument.has_default_value()]
    return set(names) >= _ARGUMENTS and set(wanted) <= _ARGUMENTS


def _flash(query: Tensor, key: Tensor, value: Tensor, plan: PrefillPlan, *, scale: float, window: int | None) -> Tensor:
    """Causal from the bottom right: the last query sees the last key."""
    attended: Tensor = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        plan.query_ends,
        plan.key_ends,
        max(span.num_queries for span in plan.spans),
        max(span.num_keys for span in plan.spans),
        0.0,
        True,
        False,
        scale=scale,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )[0]
    return attended


def _attend(
    query: Tensor, key: Tensor, value: Tensor, span: SequenceSpan, *, scale: float, window: int | None
) -> Tensor:
    """One sequence: the heads of a group share their keys without a copy, as the batch of SDPA is the key heads."""
    group = query.shape[1] // key.shape[1]
    grouped = query.unflatten(1, (-1, group)).permute(1, 2, 0, 3)  # type: ignore[no-untyped-call]  # [Hkv, G, T, D]
    keys, values = (rows.transpose(0, 1).unsqueeze(1).expand(-1, group, -1, -1) for rows in (key, value))
    visibility = span.visibility(window)
    attended = F.scaled_dot_product_attention(
        grouped, keys, values, attn_mask=visibility.mask, is_causal=visibility.is_causal, scale=scale
    )
    return attended.permute(2, 0, 1, 3).flatten(1, 2)


def _rows(span: SequenceSpan) -> list[int]:
    """Rows of the cache of all keys of a sequence."""
    rows = [block * span.block_size + offset for block in span.blocks for offset in range(span.block_size)]
    return rows[: span.num_keys]
