"""A transformers model on the paged cache: loading it, and one forward pass over a packed batch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tokenwire.engine import kv_cache
from tokenwire.engine.architecture import mismatch
from tokenwire.engine.attention import ATTENTION_NAME, AttentionBatch, LayerCache, SequenceSpan, StepState
from tokenwire.engine.kv_cache import LayerShape
from tokenwire.engine.linear import can_pack, pack_linears
from tokenwire.engine.native.decode_attention import DecodeAttention, build_decode_attention
from tokenwire.engine.protocol import EngineStartError

_RECORD_NAME = "tokenwire_record"
_PROBE_LENGTH = 24
# Largest difference of log-probabilities between the paged and the model's own forward pass that is rounding.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


class PagedModel:
    """A causal language model whose attention reads and writes the paged cache."""

    def __init__(
        self, model: PreTrainedModel, attention: Sequence[tuple[nn.Module, LayerShape]], *, kernel_dir: Path
    ) -> None:
        """`attention` is the attention module of each layer with its shape; `kernel_dir` keeps compiled kernels."""
        self._model = model
        self._modules = [module for module, _ in attention]
        self.layers = [layer for _, layer in attention]
        self._kernels = self._build_kernels(kernel_dir)
        self._step = StepState()

    @property
    def vocabulary_size(self) -> int:
        """Size of the logits."""
        size: int = self._model.get_output_embeddings().out_features
        return size

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    def attach(self, *, num_rows: int) -> None:
        """Give every attention module a cache of that many rows."""
        caches = kv_cache.allocate(self.layers, num_rows=num_rows, dtype=self._model.dtype, device=self.device)
        for module, layer, (keys, values) in zip(self._modules, self.layers, caches, strict=True):
            cache = LayerCache(keys, values, self._step, self._kernels.get(layer))
            module.paged_cache = cache  # type: ignore[assignment]

    def forward(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows [R] of a packed batch [T]; writes the batch's keys and values."""
        self._step.batch = batch
        output = self._model(
            input_ids=token_ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=logit_rows,
        )
        logits: Tensor = output.logits
        return logits[0]

    def _build_kernels(self, kernel_dir: Path) -> dict[LayerShape, DecodeAttention | None]:
        if self.device.type != "cpu" or self._model.dtype != torch.float32:
            return {}
        return {
            layer: build_decode_attention(
                group=layer.num_heads // layer.num_kv_heads,
                key_dim=layer.key_dim,
                value_dim=layer.value_dim,
                folder=kernel_dir,
            )
            for layer in set(self.layers)
        }


def load_model(
    folder: Path, config: PreTrainedConfig, *, dtype: torch.dtype, device: torch.device, kernel_dir: Path
) -> PagedModel:
    """Load the weights, learn each layer's shapes, and check the paged pass against the model's own.

    Raises `EngineStartError` if the checkpoint does not load or its logits differ.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineStartError(f"the checkpoint {folder} does not load: {error}") from error
    token_ids = torch.arange(_PROBE_LENGTH, device=device) * 97 % config.vocab_size
    expected = model(input_ids=token_ids.unsqueeze(0), use_cache=False).logits[0]
    attention = _record_attention(model, token_ids[:2])
    model.set_attn_implementation(ATTENTION_NAME)
    if can_pack(device, dtype):
        pack_linears(model)
    paged = PagedModel(model, attention, kernel_dir=kernel_dir)
    difference = _probe(paged, token_ids, expected)
    if not difference <= _TOLERANCE[dtype]:
        raise mismatch(config, difference, _TOLERANCE[dtype])
    return paged


def _record_attention(model: PreTrainedModel, token_ids: Tensor) -> list[tuple[nn.Module, LayerShape]]:
    """Run a few tokens to see which modules attend, in order, and with what shapes."""
    attention: list[tuple[nn.Module, LayerShape]] = []

    def record(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, None]:
        layer = LayerShape(
            num_heads=query.shape[1],
            num_kv_heads=key.shape[1],
            key_dim=key.shape[-1],
            value_dim=value.shape[-1],
        )
        attention.append((module, layer))
        return query.new_zeros(*query.transpose(1, 2).shape[:3], value.shape[-1]), None

    AttentionInterface.register(_RECORD_NAME, record)
    model.set_attn_implementation(_RECORD_NAME)
    model(input_ids=token_ids.unsqueeze(0), use_cache=False)
    return attention


def _probe(paged: PagedModel, token_ids: Tensor, expected: Tensor) -> float:
    """Largest difference of log-probabilities: a prefill, a chunk on top of it, and a decode, on scattered rows."""
    length = len(token_ids)
    rows = torch.randperm(2 * length, generator=torch.Generator().manual_seed(0))[:length]
    paged.attach(num_rows=2 * length)
    positions = torch.arange(length, device=token_ids.device)
    difference = 0.0
    for start, end in ((0, length // 2), (length // 2, length - 1), (length - 1, length)):
        span = SequenceSpan(
            num_queries=end - start,
            num_keys=end,
            blocks=rows[:end].tolist(),
            block_size=1,
            device=token_ids.device,
        )
        batch = AttentionBatch(write_rows=rows[start:end].to(token_ids.device), spans=(span,))
        logits = paged.forward(token_ids[start:end], positions[start:end], batch, positions[: end - start])
        error = logits.float().log_softmax(-1) - expected[start:end].float().log_softmax(-1)
        difference = max(difference, error.abs().max().nan_to_num(float("inf")).item())
    return difference
