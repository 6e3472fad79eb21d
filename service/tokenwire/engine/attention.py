"""Attention over the paged key-value cache, as transformers' `AttentionInterface` calls it.

Models run on packed batches: the tokens of all sequences stand in one row, [1, T]. Each attention module holds its
layer's cache; where each token's keys go and which keys each sequence sees is in the `AttentionBatch` of the step.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AttentionInterface

# Registered as an attention function and not as a mask function: transformers then builds no masks.
ATTENTION_NAME = "tokenwire_paged"


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which keys the queries of a span see."""

    mask: Tensor | None = None
    """[num_queries, num_keys], True where a query sees a key; None where `is_causal` says it all."""
    is_causal: bool = False
    """Query i sees the keys up to i; else, without a mask, every query sees every key."""


@dataclass(frozen=True, slots=True)
class SequenceSpan:
    """One sequence's part of a packed batch: its queries, and the cache rows of all its keys so far.

    Query i of the span stands at position `num_keys - num_queries + i` of its sequence.
    """

    first_query: int
    num_queries: int
    num_keys: int
    rows: Tensor | slice
    """Cache rows of the keys, [num_keys]; a slice where they are consecutive, so that reading them copies nothing."""
    _visibility: dict[int | None, Visibility] = field(default_factory=dict)
    # By sliding window; made on first use and shared by all layers.

    def visibility(self, window: int | None, device: torch.device) -> Visibility:
        """What the queries see through a sliding window of that many keys, or without one."""
        if window not in self._visibility:
            self._visibility[window] = self._make_visibility(window, device)
        return self._visibility[window]

    def _make_visibility(self, window: int | None, device: torch.device) -> Visibility:
        if window is None or self.num_keys <= window:
            if self.num_queries == 1:
                return Visibility()
            if self.num_queries == self.num_keys:
                return Visibility(is_causal=True)
        keys = torch.arange(self.num_keys, device=device)
        queries = keys[self.num_keys - self.num_queries :, None]
        visible = keys <= queries
        if window is not None:
            visible &= keys > queries - window
        return Visibility(visible)


@dataclass(frozen=True)
class AttentionBatch:
    """Where the keys of a packed batch are."""

    write_rows: Tensor
    """[T] cache row of each token's own key and value."""
    spans: tuple[SequenceSpan, ...]

    @cached_property
    def device(self) -> torch.device:
        """The device of the batch."""
        return self.write_rows.device


@dataclass(slots=True)
class LayerCache:
    """One layer's keys and values, and the batch of the current step (the same object in all layers)."""

    keys: Tensor
    """[rows, Hkv, Dk]; a row is block × block size + offset in the block."""
    values: Tensor
    """[rows, Hkv, Dv]"""
    step: "StepState"


@dataclass(slots=True)
class StepState:
    """The batch that the forward pass works on; set before each pass."""

    batch: AttentionBatch | None = None


def paged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Write the batch's keys and values to the cache and attend. An attention function of `AttentionInterface`.

    `query` is [1, H, T, Dk], `key` [1, Hkv, T, Dk], `value` [1, Hkv, T, Dv]; the result is [1, T, H, Dv].
    """
    cache = module.paged_cache
    assert isinstance(cache, LayerCache)
    batch = cache.step.batch
    assert batch is not None
    cache.keys.index_copy_(0, batch.write_rows, key[0].transpose(0, 1))
    cache.values.index_copy_(0, batch.write_rows, value[0].transpose(0, 1))
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    queries = query[0].transpose(0, 1)  # [T, H, Dk]
    output = queries.new_empty(*queries.shape[:2], value.shape[-1])
    for span in batch.spans:
        last = span.first_query + span.num_queries
        output[span.first_query : last] = _attend(
            queries[span.first_query : last],
            cache.keys[span.rows],
            cache.values[span.rows],
            span.visibility(sliding_window, batch.device),
            scale=scale,
            softcap=softcap,
        )
    return output.unsqueeze(0), None


AttentionInterface.register(ATTENTION_NAME, paged_attention)


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, visibility: Visibility, *, scale: float, softcap: float | None
) -> Tensor:
    """One sequence: queries [T, H, Dk], keys [L, Hkv, Dk], values [L, Hkv, Dv] → [T, H, Dv]."""
    num_queries, num_heads, head_dim = queries.shape
    num_kv_heads = keys.shape[1]
    # The key heads are the batch dimension, so that the query heads of a group share their keys without a copy.
    grouped = queries.view(num_queries, num_kv_heads, -1, head_dim).permute(1, 2, 0, 3)  # [Hkv, G, T, Dk]
    k = keys.transpose(0, 1).unsqueeze(1)  # [Hkv, 1, L, Dk]
    v = values.transpose(0, 1).unsqueeze(1)
    if softcap is not None:
        attended = _softcapped(grouped, k, v, visibility, scale=scale, softcap=softcap)
    elif num_queries == 1:
        # The heads of a group become the rows of one small product for each key head: [1, Hkv, G, Dk].
        attended = F.scaled_dot_product_attention(
            grouped.permute(2, 0, 1, 3),
            k.transpose(0, 1),
            v.transpose(0, 1),
            attn_mask=visibility.mask,
            scale=scale,
        ).permute(1, 2, 0, 3)
    else:
        groups = (-1, num_heads // num_kv_heads, -1, -1)
        attended = F.scaled_dot_product_attention(
            grouped,
            k.expand(groups),
            v.expand(groups),
            attn_mask=visibility.mask,
            is_causal=visibility.is_causal,
            scale=scale,
        )
    return attended.permute(2, 0, 1, 3).reshape(num_queries, num_heads, -1)


def _softcapped(q: Tensor, k: Tensor, v: Tensor, visibility: Visibility, *, scale: float, softcap: float) -> Tensor:
    """Attention whose scores are bounded by softcap · tanh(score / softcap) (Gemma 2, arXiv:2408.00118)."""
    scores = softcap * torch.tanh(q @ k.transpose(-1, -2) * (scale / softcap))
    mask = visibility.mask
    if visibility.is_causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
