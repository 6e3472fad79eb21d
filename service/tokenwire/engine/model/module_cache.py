"""The paged cache of forward passes whose attention is a module: torch's own and the lean one."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tokenwire.engine.model import kv_cache
from tokenwire.engine.model.attention import AttentionBatch, AttentionLayer, LayerCache, LayerShape, StepState
from tokenwire.engine.model.native.decode_attention import DecodeAttention, build_decode_attention


class ModuleCache:
    """Hangs each layer's keys and values on its attention module, where `paged_attention` finds them."""

    def __init__(
        self,
        attention: Sequence[AttentionLayer],
        *,
        dtype: torch.dtype,
        device: torch.device,
        kernel_dir: Path,
        num_threads: int | None,
    ) -> None:
        """`kernel_dir` keeps compiled kernels; `num_threads` is that of the attention, None: that of the pass."""
        self._attention = attention
        self._dtype = dtype
        self._device = device
        self._step = StepState(num_threads=num_threads)
        self._kernels = self._build_kernels(kernel_dir)

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """Allocate the caches, in place of the ones before. Raises `EngineStartError` when memory runs out."""
        shapes = [layer.shape for layer in self._attention]
        caches = kv_cache.allocate(shapes, num_rows=num_blocks * block_size, dtype=self._dtype, device=self._device)
        for layer, (keys, values) in zip(self._attention, caches, strict=True):
            cache = LayerCache(keys, values, self._step, self._kernels.get(layer.shape))
            layer.module.paged_cache = cache  # type: ignore[assignment]

    def use(self, batch: AttentionBatch) -> None:
        """Set the batch that the next pass works on."""
        self._step.batch = batch

    def _build_kernels(self, folder: Path) -> dict[LayerShape, DecodeAttention | None]:
        if self._device.type != "cpu" or self._dtype != torch.float32:
            return {}
        return {
            layer: build_decode_attention(
                group=layer.num_heads // layer.num_kv_heads,
                key_dim=layer.key_dim,
                value_dim=layer.value_dim,
                folder=folder,
            )
            for layer in {layer.shape for layer in self._attention}
        }
