"""Loading a transformers model onto the fastest forward pass whose logits are those of the untouched model."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.distributed import DistributedConfig

from tokenwire.engine.model.architecture import check_windows, mismatch
from tokenwire.engine.model.attention import (
    ATTENTION_NAME,
    AttentionBatch,
    AttentionLayer,
    LayerShape,
    SequenceSpan,
)
from tokenwire.engine.model.gpu.eligibility import can_decode
from tokenwire.engine.model.lean import LeanDecoder, is_llama_shaped
from tokenwire.engine.model.linear import can_pack
from tokenwire.engine.model.model import Forward, PagedModel
from tokenwire.engine.model.module_cache import ModuleCache
from tokenwire.engine.model.modules import ModuleForward
from tokenwire.engine.model.parallel.shards import is_plain
from tokenwire.engine.model.stable_rows import StableRows
from tokenwire.engine.protocol import EngineStartError

logger = logging.getLogger("tokenwire.engine")

_RECORD_NAME = "tokenwire_record"
_PROBE_LENGTH = 24
# Largest difference of log-probabilities between the paged and the model's own forward pass that is rounding.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a model is to run."""

    device: torch.device
    dtype: torch.dtype
    kernel_dir: Path
    """Keeps compiled kernels."""
    rows: StableRows | None
    """In deterministic mode."""


def load_model(
    folder: Path,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    kernel_dir: Path,
    deterministic: bool = False,
) -> PagedModel:
    """Load a model on the fastest forward pass whose logits are those of the untouched model.

    `deterministic`: it can be stabilised.

    Raises `EngineStartError` if the checkpoint does not load, or no pass over the paged cache gives its logits.
    """
    tolerance = TOLERANCE[dtype]
    difference = 0.0
    for make in _passes(config, device):
        rows = StableRows(torch.get_num_threads()) if deterministic else None
        placement = Placement(device, dtype, kernel_dir, rows)
        paged, difference = _load_paged(folder, config, make, placement)
        if difference <= tolerance:
            return paged
        logger.warning("%s is off by %.2g on the probe text", paged.pass_name, difference)
        del paged  # or the weights would be in memory twice
    raise mismatch(config, difference, tolerance)


MakeForward = Callable[[PreTrainedModel, list[AttentionLayer], Placement], Forward]
"""Makes a forward pass of a model, whose weights it may take and whose modules it may take apart."""


def _passes(config: PreTrainedConfig, device: torch.device) -> Iterator[MakeForward]:
    """The forward passes to try, the fastest first."""
    if can_decode(config, device):
        yield _gpu
    yield from torch_passes(config)


def torch_passes(config: PreTrainedConfig) -> Iterator[MakeForward]:
    """Those of them that torch computes. They take a model in parts, too, of which other processes have the others."""
    if is_llama_shaped(config):
        yield _lean
    yield _modules


def _gpu(model: PreTrainedModel, attention: list[AttentionLayer], placement: Placement) -> Forward:
    from tokenwire.engine.model.gpu.decoder import GpuDecoder  # not at the top: it imports Triton

    return GpuDecoder(model, attention, dtype=placement.dtype, device=placement.device, rows=placement.rows)


def _lean(model: PreTrainedModel, attention: list[AttentionLayer], placement: Placement) -> Forward:
    cache = _module_cache(model, attention, placement)
    pack = can_pack(placement.device, placement.dtype)
    return LeanDecoder(model, attention, cache, pack=pack, rows=placement.rows)


def _modules(model: PreTrainedModel, attention: list[AttentionLayer], placement: Placement) -> Forward:
    cache = _module_cache(model, attention, placement)
    pack = can_pack(placement.device, placement.dtype) and is_plain(model)
    return ModuleForward(model, cache, pack=pack, rows=placement.rows)


def _module_cache(model: PreTrainedModel, attention: list[AttentionLayer], placement: Placement) -> ModuleCache:
    model.set_attn_implementation(ATTENTION_NAME)
    return ModuleCache(
        attention,
        dtype=placement.dtype,
        device=placement.device,
        kernel_dir=placement.kernel_dir,
        num_threads=None if placement.rows is None else placement.rows.num_threads,
    )


def _load_paged(
    folder: Path, config: PreTrainedConfig, make: MakeForward, placement: Placement
) -> tuple[PagedModel, float]:
    """The model on that forward pass, and how far its logits are from the untouched model's."""
    model = load_weights(folder, dtype=placement.dtype, device=placement.device)
    token_ids = probe_token_ids(config).to(placement.device)
    expected = model(input_ids=token_ids.unsqueeze(0), use_cache=False).logits[0]
    attention = record_attention(model, token_ids[:2])
    check_windows(config, [layer.sliding_window for layer in attention])
    paged = PagedModel(
        make(model, attention, placement),
        [layer.shape for layer in attention],
        vocabulary_size=expected.shape[-1],
        device=placement.device,
        rows=placement.rows,
    )
    return paged, probe(paged, token_ids, expected)


def load_weights(
    folder: Path, *, dtype: torch.dtype, device: torch.device, distributed_config: DistributedConfig | None = None
) -> PreTrainedModel:
    """The untouched model, or this process's part of it. Raises `EngineStartError` if it does not load."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, distributed_config=distributed_config)
        return model.to(device).eval()
    except Exception as error:  # damaged weights and missing packages make the readers raise nearly anything
        raise EngineStartError(f"the checkpoint {folder} does not load: {error}") from error


def probe_token_ids(config: PreTrainedConfig) -> Tensor:
    """The text [T] on which a pass is compared with the untouched model."""
    token_ids: Tensor = torch.arange(_PROBE_LENGTH) * 97 % config.vocab_size
    return token_ids


def record_attention(model: PreTrainedModel, token_ids: Tensor) -> list[AttentionLayer]:
    """Run a few tokens to see how the model calls its attention, layer by layer."""
    attention: list[AttentionLayer] = []

    def record(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *_: object,
        scaling: float | None = None,
        sliding_window: int | None = None,
        **__: object,
    ) -> tuple[Tensor, None]:
        shape = LayerShape(
            num_heads=query.shape[1],
            num_kv_heads=key.shape[1],
            key_dim=key.shape[-1],
            value_dim=value.shape[-1],
        )
        attention.append(AttentionLayer(module, shape, scaling, sliding_window))
        return query.new_zeros(*query.transpose(1, 2).shape[:3], value.shape[-1]), None

    AttentionInterface.register(_RECORD_NAME, record)
    model.set_attn_implementation(_RECORD_NAME)
    model(input_ids=token_ids.unsqueeze(0), use_cache=False)
    return attention


def probe(paged: PagedModel, token_ids: Tensor, expected: Tensor) -> float:
    """Largest difference of log-probabilities: a prefill, a chunk on top of it, and a decode, on scattered rows."""
    length = len(token_ids)
    rows = torch.randperm(2 * length, generator=torch.Generator().manual_seed(0))[:length]
    paged.attach(num_blocks=2 * length, block_size=1)
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
