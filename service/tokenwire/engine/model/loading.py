"""Loading a transformers model onto the fastest forward pass whose logits are those of the untouched model."""

import ctypes
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.distributed import DistributedConfig

from tokenwire.engine.model.architecture import architecture_name, check_windows, context_limit, mismatch
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
from tokenwire.engine.model.native.decoder import NativeDecoder, is_native_shaped, load_library
from tokenwire.engine.model.native.weights import FORMATS
from tokenwire.engine.model.parallel.shards import is_plain
from tokenwire.engine.model.stable_rows import StableRows
from tokenwire.engine.protocol import EngineStartError

logger = logging.getLogger("tokenwire.engine")

_RECORD_NAME = "tokenwire_record"
_PROBE_LENGTH = 24
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
"""Largest difference of log-probabilities between the paged and the model's own forward pass that is rounding."""
_FLOATS = ("fp32", "fp16")
_ROUNDED_TOLERANCE = 0.05
"""The same where a pass rounds the inputs of its products to 16-bit numbers: for all other `weights`."""


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
    weights: str = "auto",
) -> PagedModel:
    """Load a model on the fastest forward pass whose logits are those of the untouched model.

    `deterministic`: it can be stabilised. `weights`: how they are stored, a key of `FORMATS`; all but `auto` and `fp32`
    need the native pass.

    Raises `EngineStartError` if the checkpoint does not load, or no pass over the paged cache gives its logits.
    """
    difference = tolerance = 0.0
    for make, tolerance in _passes(config, device, dtype, weights=weights, kernel_dir=kernel_dir):
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


def _passes(
    config: PreTrainedConfig, device: torch.device, dtype: torch.dtype, *, weights: str, kernel_dir: Path
) -> Iterator[tuple[MakeForward, float]]:
    """The forward passes to try, the fastest first, and how far their log-probabilities may be off.

    Raises `EngineStartError` where none is left that stores the weights so.
    """
    if can_decode(config, device):
        yield _gpu, TOLERANCE[dtype]
    library = load_library(kernel_dir) if is_native_shaped(config, device, dtype) else None
    if library is not None:
        yield partial(_native, library, weights), TOLERANCE[dtype] if weights in _FLOATS else _ROUNDED_TOLERANCE
    if weights not in ("auto", "fp32"):
        raise EngineStartError(
            f"--weights {weights} needs a CPU, float32, a C compiler, and a model of the Llama, Mistral or Qwen family "
            f"whose logits come out right; {architecture_name(config)} on {device.type} in "
            f"{str(dtype).removeprefix('torch.')} is served with --weights auto"
        )
    yield from ((make, TOLERANCE[dtype]) for make in torch_passes(config))


def torch_passes(config: PreTrainedConfig) -> Iterator[MakeForward]:
    """Those of them that torch computes. They take a model in parts, too, of which other processes have the others."""
    if is_llama_shaped(config):
        yield _lean
    yield _modules


def _native(
    library: ctypes.CDLL, weights: str, model: PreTrainedModel, attention: list[AttentionLayer], placement: Placement
) -> Forward:
    return NativeDecoder(
        model,
        attention,
        library,
        formats=FORMATS[weights],
        context_length=context_limit(model.config),
        num_threads=torch.get_num_threads(),
    )


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
    expected = own_logits(model, token_ids)
    attention = record_attention(model, token_ids[:2])
    check_windows(config, [layer.sliding_window for layer in attention])
    forward = make(model, attention, placement)
    weights = ""
    if isinstance(forward, NativeDecoder):
        # The model is whole, but its weights are rounded to what the pass stores: the pass must do the same sums.
        expected = own_logits(model, token_ids)
        weights = forward.weights
        logger.info("the weights are stored as %s", weights)
    paged = PagedModel(
        forward,
        [layer.shape for layer in attention],
        vocabulary_size=expected.shape[-1],
        device=placement.device,
        rows=placement.rows,
        weights=weights,
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


def own_logits(model: PreTrainedModel, token_ids: Tensor) -> Tensor:
    """Logits [T, V] of a text [T] by the model's own forward pass."""
    logits: Tensor = model(input_ids=token_ids.unsqueeze(0), use_cache=False).logits[0]
    return logits


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
    before = model.config._attn_implementation
    model.set_attn_implementation(_RECORD_NAME)
    model(input_ids=token_ids.unsqueeze(0), use_cache=False)
    model.set_attn_implementation(before)
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
