"""Attention over the paged key-value cache, as transformers' `AttentionInterface` calls it.

Models run on packed batches: the tokens of all sequences stand in one row, [1, T]. Each attention module holds its
layer's cache; where each token's keys go and which keys each sequence sees is in the `AttentionBatch` of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AttentionInterface

from tokenwire.engine.model.native.decode_attention import BlockTables, DecodeAttention
from tokenwire.engine.model.threads import use_threads

# Registered as an attention function and not as a mask function: transformers then builds no masks.
ATTENTION_NAME = "tokenwire_paged"


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which keys the queries of a span see."""

    mask: Tensor | None = None
    """[num_queries, num_keys], True where a query sees a key; None where `is_causal` says it all."""
    is_causal: bool = False
    """Query i sees the keys up to i; else, without a mask, every query sees every key."""


@dataclass(frozen=True)
class SequenceSpan:
    """One sequence's part of a packed batch: its queries, and where all its keys so far are.

    Query i of the span stands at position `num_keys - num_queries + i` of its sequence; the key of position p is in row
    `blocks[p // block_size] * block_size + p % block_size` of the cache.
    """

    num_queries: int
    num_keys: int
    blocks: Sequence[int]
    block_size: int
    device: torch.device
    _visibility: dict[int | None, Visibility] = field(default_factory=dict)
    # By sliding window; made on first use and shared by all layers.

    @cached_property
    def _rows(self) -> Tensor | int:
        """The first row where all are consecutive, so that reading copies nothing; else all of them, [num_keys]."""
        if all(second == first + 1 for first, second in pairwise(self.blocks)):
            return self.blocks[0] * self.block_size
        blocks = torch.tensor(self.blocks, device=self.device)
        rows = blocks[:, None] * self.block_size + torch.arange(self.block_size, device=self.device)
        return rows.flatten()[: self.num_keys]

    def read(self, cache: Tensor) -> Tensor:
        """The sequence's part of keys or values: [1, Hkv, rows, D] → [1, Hkv, num_keys, D]."""
        if isinstance(self._rows, int):
            return cache.narrow(2, self._rows, self.num_keys)
        return cache.index_select(2, self._rows)

    def visibility(self, window: int | None) -> Visibility:
        """What the queries see through a sliding window of that many keys, or without one."""
        if window not in self._visibility:
            self._visibility[window] = self._make_visibility(window)
        return self._visibility[window]

    def _make_visibility(self, window: int | None) -> Visibility:
        if window is None or self.num_keys <= window:
            if self.num_queries == 1:
                return Visibility()
            if self.num_queries == self.num_keys:
                return Visibility(is_causal=True)
        keys = torch.arange(self.num_keys, device=self.device)
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
    """In the order of the packed tokens; those of one query, the decodes, first."""

    @cached_property
    def decodes(self) -> tuple[SequenceSpan, ...]:
        """The spans of one query."""
        return tuple(span for span in self.spans if span.num_queries == 1)

    @cached_property
    def decode_tables(self) -> BlockTables:
        """Where the keys of the decodes are, for the kernel."""
        return BlockTables.of(
            [span.blocks for span in self.decodes],
            [span.num_keys for span in self.decodes],
            block_size=self.decodes[0].block_size,
        )


@dataclass(slots=True)
class StepState:
    """The batch that the forward pass works on; set before each pass."""

    batch: AttentionBatch | None = None
    num_threads: int | None = None
    """Of the attention; None: those of the rest of the pass."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer's keys and values, and the step's state (the same object in all layers).

    Heads come before rows: consecutive rows of a head are consecutive in memory, and one `narrow` gives a sequence.
    """

    keys: Tensor
    """[1, Hkv, rows, Dk]; a row is block × block size + offset in the block."""
    values: Tensor
    """[1, Hkv, rows, Dv]"""
    step: StepState
    kernel: DecodeAttention | None
    """For the decodes; None where torch does them."""


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Shape of one layer's attention."""

    num_heads: int
    num_kv_heads: int
    key_dim: int
    value_dim: int

    @property
    def cached_elements(self) -> int:
        """Elements of key and value of one token."""
        return self.num_kv_heads * (self.key_dim + self.value_dim)


@dataclass(frozen=True, slots=True)
class AttentionLayer:
    """One layer's attention, as the model calls it."""

    module: nn.Module
    shape: LayerShape
    scaling: float | None
    sliding_window: int | None


@dataclass(frozen=True, slots=True)
class _Scores:
    """How a layer scores keys."""

    scale: float
    window: int | None
    softcap: float | None


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
    cache.keys.index_copy_(2, batch.write_rows, key)
    cache.values.index_copy_(2, batch.write_rows, value)
    scores = _Scores(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap)
    grouped = query.view(key.shape[1], -1, *query.shape[2:])  # [Hkv, G, T, Dk]
    with use_threads(cache.step.num_threads):
        return _attend(grouped, cache, batch, scores).unsqueeze(0), None


AttentionInterface.register(ATTENTION_NAME, paged_attention)


def _attend(grouped: Tensor, cache: LayerCache, batch: AttentionBatch, scores: _Scores) -> Tensor:
    """All spans of the batch: [Hkv, G, T, Dk] → [T, H, Dv]."""
    first = len(batch.decodes)
    outputs = [_attend_decodes(grouped[:, :, :first], cache, batch, scores)] if first else []
    for span in batch.spans[first:]:
        outputs.append(_attend_chunk(grouped[:, :, first : first + span.num_queries], cache, span, scores))
        first += span.num_queries
    return torch.cat(outputs)


def _attend_decodes(grouped: Tensor, cache: LayerCache, batch: AttentionBatch, scores: _Scores) -> Tensor:
    """Sequences of one query each: [Hkv, G, T, Dk] → [T, H, Dv]."""
    queries = grouped.permute(2, 0, 1, 3)
    if cache.kernel is not None and scores.softcap is None:
        return cache.kernel(
            queries.flatten(1, 2),
            cache.keys,
            cache.values,
            batch.decode_tables,
            scale=scores.scale,
            window=scores.window,
        )
    # The heads of a group become the rows of one small product for each key head: [1, Hkv, G, Dk] for a sequence.
    # On one thread, for they take some microseconds: waking others takes longer.
    with use_threads(1):
        attended = [
            _attention(query, span.read(cache.keys), span.read(cache.values), span, scores)
            for query, span in zip(torch.split(queries.contiguous(), 1), batch.decodes, strict=True)
        ]
    return torch.cat(attended).flatten(1, 2)


def _attend_chunk(grouped: Tensor, cache: LayerCache, span: SequenceSpan, scores: _Scores) -> Tensor:
    """One sequence of several queries: [Hkv, G, T, Dk] → [T, H, Dv]."""
    # The key heads become the batch, so that the heads of a group share their keys without a copy: [Hkv, G, L, D].
    groups = (-1, grouped.shape[1], -1, -1)
    keys = span.read(cache.keys).transpose(0, 1).expand(groups)
    values = span.read(cache.values).transpose(0, 1).expand(groups)
    return _attention(grouped, keys, values, span, scores).permute(2, 0, 1, 3).flatten(1, 2)


def _attention(q: Tensor, k: Tensor, v: Tensor, span: SequenceSpan, scores: _Scores) -> Tensor:
    visibility = span.visibility(scores.window)
    if scores.softcap is not None:
        return _softcapped_attention(q, k, v, visibility, scale=scores.scale, softcap=scores.softcap)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=visibility.mask, is_causal=visibility.is_causal, scale=scores.scale
    )


def _softcapped_attention(
    q: Tensor, k: Tensor, v: Tensor, visibility: Visibility, *, scale: float, softcap: float
) -> Tensor:
    """Attention whose scores are bounded by softcap · tanh(score / softcap) (Gemma 2, arXiv:2408.00118)."""
    scores = softcap * torch.tanh(q @ k.transpose(-1, -2) * (scale / softcap))
    mask = visibility.mask
    if visibility.is_causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v
