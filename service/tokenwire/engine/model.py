"""A transformers model on the paged cache: loading it, and one forward pass over a packed batch."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tokenwire.engine import kv_cache
from tokenwire.engine.architecture import mismatch
from tokenwire.engine.attention import ATTENTION_NAME, AttentionBatch, SequenceSpan, StepState
from tokenwire.engine.kv_cache import LayerShape
from tokenwire.engine.protocol import EngineStartError

_RECORD_NAME = "tokenwire_record"
_PROBE_LENGTH = 24
# Largest difference of log-probabilities between the paged and the model's own forward pass that is rounding.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


class PagedModel:
    """A causal language model whose attention reads and writes the paged cache."""

    def __init__(self, model: PreTrainedModel, attention_modules: Sequence[nn.Module]) -> None:
        self._model = model
        self._attention_modules = attention_modules
        self._step = StepState()

    @property
    def vocabulary_size(self) -> int:
        """Size of the logits."""
        head: nn.Linear = self._model.get_output_embeddings()
        return head.weight.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    def attach(self, layers: list[LayerShape], *, num_rows: int) -> None:
        """Give every attention module a cache of that many rows."""
        caches = kv_cache.allocate(
            layers, num_rows=num_rows, dtype=self._model.dtype, device=self.device, step=self._step
        )
        for module, cache in zip(self._attention_modules, caches, strict=True):
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


def load_model(
    folder: Path, config: PreTrainedConfig, *, dtype: torch.dtype, device: torch.device
) -> tuple[PagedModel, list[LayerShape]]:
    """Load the weights, learn each layer's key and value shapes, and check the paged pass against the model's own.

    Raises `EngineStartError` if the checkpoint does not load or its logits differ.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineStartError(f"the checkpoint {folder} does not load: {error}") from error
    token_ids = torch.arange(_PROBE_LENGTH, device=device) * 97 % config.vocab_size
    expected = model(input_ids=token_ids.unsqueeze(0), use_cache=False).logits[0]
    modules, layers = _record_attention(model, token_ids[:2])
    model.set_attn_implementation(ATTENTION_NAME)
    paged = PagedModel(model, modules)
    difference = _probe(paged, layers, token_ids, expected)
    if not difference <= _TOLERANCE[dtype]:
        raise mismatch(config, difference, _TOLERANCE[dtype])
    return paged, layers


def _record_attention(model: PreTrainedModel, token_ids: Tensor) -> tuple[list[nn.Module], list[LayerShape]]:
    """Run a few tokens to see which modules attend, in order, and with what shapes."""
    modules: list[nn.Module] = []
    layers: list[LayerShape] = []

    def record(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, None]:
        modules.append(module)
        layers.append(LayerShape(num_kv_heads=key.shape[1], key_dim=key.shape[-1], value_dim=value.shape[-1]))
        return query.new_zeros(*query.transpose(1, 2).shape[:3], value.shape[-1]), None

    AttentionInterface.register(_RECORD_NAME, record)
    model.set_attn_implementation(_RECORD_NAME)
    model(input_ids=token_ids.unsqueeze(0), use_cache=False)
    return modules, layers


def _probe(paged: PagedModel, layers: list[LayerShape], token_ids: Tensor, expected: Tensor) -> float:
    """Largest difference of log-probabilities: a prefill, a chunk on top of it, and a decode, on scattered rows."""
    length = len(token_ids)
    rows = torch.randperm(2 * length, generator=torch.Generator().manual_seed(0))[:length].to(token_ids.device)
    paged.attach(layers, num_rows=2 * length)
    positions = torch.arange(length, device=token_ids.device)
    difference = 0.0
    for start, end in ((0, length // 2), (length // 2, length - 1), (length - 1, length)):
        span = SequenceSpan(num_queries=end - start, num_keys=end, rows=rows[:end])
        batch = AttentionBatch(write_rows=rows[start:end], spans=(span,))
        logits = paged.forward(token_ids[start:end], positions[start:end], batch, positions[: end - start])
        error = logits.float().log_softmax(-1) - expected[start:end].float().log_softmax(-1)
        difference = max(difference, error.abs().max().nan_to_num(float("inf")).item())
    return difference
