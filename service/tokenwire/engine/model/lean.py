"""A lean forward pass for Llama-shaped decoders: the same sums as transformers' modules in far fewer operations.

Query, key and value projections are one product, so are gate and up; one rotation serves queries and keys. What it
gives is compared with the untouched model when that is loaded: an architecture that only looks like Llama runs on
transformers' own modules.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedConfig

from tokenwire.engine.model.attention import AttentionBatch, AttentionLayer, paged_attention
from tokenwire.engine.model.linear import make_linear
from tokenwire.engine.model.module_cache import ModuleCache
from tokenwire.engine.model.stable_rows import StableRows

_LLAMA_SHAPED = {"llama", "mistral", "qwen2", "qwen3"}


def is_llama_shaped(config: PreTrainedConfig) -> bool:
    """Whether the lean pass is worth a try."""
    return config.model_type in _LLAMA_SHAPED and config.hidden_act == "silu"


_FIXED_ROTATIONS = {"default", "linear", "llama3", "yarn"}
"""Whose frequencies do not depend on the length of the text: they can be tabulated."""


def has_right_shape(config: PreTrainedConfig) -> bool:
    """Whether it is a Llama-shaped decoder whose rotation is of whole heads and can be tabulated."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        is_llama_shaped(config)
        and rope.get("rope_type", "default") in _FIXED_ROTATIONS
        and rope.get("partial_rotary_factor") in (None, 1.0)
    )


class LeanDecoder:
    """Token ids to logits. Takes the weights out of a transformers model, which cannot be used any more."""

    def __init__(
        self,
        model: Any,
        attention: Sequence[AttentionLayer],
        cache: ModuleCache,
        *,
        pack: bool,
        rows: StableRows | None,
    ) -> None:
        """`pack`: pack the linear layers (see `tokenwire.engine.model.linear`); `rows`: in deterministic mode."""
        self._cache = cache
        decoder = model.model
        self._embedding = decoder.embed_tokens
        self._rotary = decoder.rotary_emb
        self._layers = [
            _LeanLayer(layer, calls, pack=pack, rows=rows)
            for layer, calls in zip(_layers(model), attention, strict=True)
        ]
        self._norm = _Norm(decoder.norm)
        self._head = make_linear([model.lm_head], pack=pack, rows=rows)

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """See `Forward`."""
        self._cache.attach(num_blocks=num_blocks, block_size=block_size)

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """See `Forward`."""
        self._cache.use(batch)
        hidden: Tensor = self._embedding(token_ids)  # [T, C]
        cos, sin = self._rotary(hidden.unsqueeze(0), positions.unsqueeze(0))
        rotation = cos[0].unsqueeze(1), sin[0].unsqueeze(1)  # [T, 1, D] each
        for layer in self._layers:
            hidden = layer(hidden, rotation)
        logits: Tensor = self._head(self._norm(hidden[logit_rows]))
        return logits


class _LeanLayer:
    """One decoder layer: attention and gated feed-forward, each behind a norm and beside a residual."""

    def __init__(self, layer: Any, attention: AttentionLayer, *, pack: bool, rows: StableRows | None) -> None:
        own = layer.self_attn
        self._attention = attention
        self._num_rotated = attention.shape.num_heads + attention.shape.num_kv_heads
        self._input_norm = _Norm(layer.input_layernorm)
        self._qkv = make_linear([own.q_proj, own.k_proj, own.v_proj], pack=pack, rows=rows)
        self._query_norm = _Norm(own.q_norm) if hasattr(own, "q_norm") else None
        self._key_norm = _Norm(own.k_norm) if hasattr(own, "k_norm") else None
        self._output = make_linear([own.o_proj], pack=pack, rows=rows)
        self._mlp_norm = _Norm(layer.post_attention_layernorm)
        self._gate_up = make_linear([layer.mlp.gate_proj, layer.mlp.up_proj], pack=pack, rows=rows)
        self._down = make_linear([layer.mlp.down_proj], pack=pack, rows=rows)
        # The attention module stays, for it holds the cache; its weights are in the merged layers now.
        for module, names in ((own, ("q_proj", "k_proj", "v_proj", "o_proj")), (layer, ("mlp",))):
            for name in names:
                delattr(module, name)

    def __call__(self, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[T, C] → [T, C]."""
        hidden = hidden + self._output(self._attend(self._qkv(self._input_norm(hidden)), rotation))
        gate, up = self._gate_up(self._mlp_norm(hidden)).chunk(2, dim=-1)
        feed_forward: Tensor = self._down(F.silu(gate).mul_(up))
        return hidden + feed_forward

    def _attend(self, qkv: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        attention = self._attention
        heads = qkv.unflatten(-1, (-1, attention.shape.key_dim))  # type: ignore[no-untyped-call]  # [T, H + 2 Hkv, D]
        num_heads = attention.shape.num_heads
        rotated = heads[:, : self._num_rotated]
        if self._query_norm is not None and self._key_norm is not None:
            rotated = torch.cat((self._query_norm(rotated[:, :num_heads]), self._key_norm(rotated[:, num_heads:])), 1)
        rotated = _rotate(rotated, *rotation)
        attended, _ = paged_attention(
            attention.module,
            rotated[:, :num_heads].transpose(0, 1).unsqueeze(0),
            rotated[:, num_heads:].transpose(0, 1).unsqueeze(0),
            heads[:, self._num_rotated :].transpose(0, 1).unsqueeze(0),
            None,
            scaling=attention.scaling,
            sliding_window=attention.sliding_window,
        )
        return attended[0].flatten(1)


class _Norm:
    """Root-mean-square norm (Zhang and Sennrich 2019), in float32 as the checkpoints were trained."""

    def __init__(self, norm: Any) -> None:
        self._weight: Tensor = norm.weight
        self._epsilon: float = norm.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        normed = F.rms_norm(x.float(), x.shape[-1:], eps=self._epsilon).to(x.dtype)
        return normed.mul_(self._weight)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of [T, H, D], in the half-split order of transformers."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos).addcmul_(torch.cat((-second, first), dim=-1), sin)


def _layers(model: Any) -> Sequence[Any]:
    layers: Sequence[Any] = model.model.layers
    return layers
