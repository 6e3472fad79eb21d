"""A transformers model on the paged cache: loading it, and one forward pass over a packed batch."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tokenwire.engine.model import kv_cache
from tokenwire.engine.model.architecture import check_windows, mismatch
from tokenwire.engine.model.attention import (
    ATTENTION_NAME,
    AttentionBatch,
    AttentionLayer,
    LayerCache,
    LayerShape,
    SequenceSpan,
    StepState,
)
from tokenwire.engine.model.lean import LeanDecoder, is_llama_shaped
from tokenwire.engine.model.linear import can_pack, replace_linears
from tokenwire.engine.model.native.decode_attention import DecodeAttention, build_decode_attention
from tokenwire.engine.model.stable_rows import StableRows, stabilise
from tokenwire.engine.model.threads import use_threads
from tokenwire.engine.protocol import EngineStartError

logger = logging.getLogger("tokenwire.engine")

_RECORD_NAME = "tokenwire_record"
_PROBE_LENGTH = 24
# Largest difference of log-probabilities between the paged and the model's own forward pass that is rounding.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


class Forward(Protocol):
    """Token ids [T] and positions [T] of a packed batch, and the rows [R] to answer → logits [R, V]."""

    def __call__(self, token_ids: Tensor, positions: Tensor, logit_rows: Tensor) -> Tensor: ...


class ModuleForward:
    """The forward pass of transformers' own modules, which know the layers of their attention themselves."""

    def __init__(
        self, model: PreTrainedModel, attention: Sequence[AttentionLayer], *, pack: bool, rows: StableRows | None
    ) -> None:
        if pack or rows is not None:
            replace_linears(model, pack=pack, rows=rows)
        self._model = model

    def __call__(self, token_ids: Tensor, positions: Tensor, logit_rows: Tensor) -> Tensor:
        output = self._model(
            input_ids=token_ids.unsqueeze(0),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
            logits_to_keep=logit_rows,
        )
        logits: Tensor = output.logits
        return logits[0]


class PagedModel:
    """A causal language model whose attention reads and writes the paged cache."""

    def __init__(
        self,
        forward: Forward,
        attention: Sequence[AttentionLayer],
        *,
        vocabulary_size: int,
        dtype: torch.dtype,
        device: torch.device,
        kernel_dir: Path,
        rows: StableRows | None,
    ) -> None:
        """`kernel_dir` keeps compiled kernels; `rows`, in deterministic mode, is that of the model's layers."""
        self.vocabulary_size = vocabulary_size
        self.device = device
        self.layers = [layer.shape for layer in attention]
        self._dtype = dtype
        self._forward = forward
        self._attention = attention
        self._kernels = self._build_kernels(kernel_dir)
        self._rows = rows
        self._step = StepState(num_threads=None if rows is None else rows.num_threads)

    @property
    def is_lean(self) -> bool:
        """Whether the model runs on the lean forward pass."""
        return isinstance(self._forward, LeanDecoder)

    def attach(self, *, num_rows: int) -> None:
        """Give every attention module a cache of that many rows."""
        caches = kv_cache.allocate(self.layers, num_rows=num_rows, dtype=self._dtype, device=self.device)
        for layer, (keys, values) in zip(self._attention, caches, strict=True):
            cache = LayerCache(keys, values, self._step, self._kernels.get(layer.shape))
            layer.module.paged_cache = cache  # type: ignore[assignment]

    def forward(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows [R] of a packed batch [T]; writes the batch's keys and values."""
        if self._rows is None:
            self._step.batch = batch
            return self._forward(token_ids, positions, logit_rows)
        with use_threads(self.num_threads):
            return self._forward_stable(token_ids, positions, batch, logit_rows, multiple=self._rows.multiple)

    @property
    def num_threads(self) -> int | None:
        """Of all but products and attention; None: what torch is set to."""
        return None if self._rows is None else 1

    def stabilise(self, *, most_rows: int) -> None:
        """In deterministic mode, before `attach`: see to it that no batch of up to `most_rows` changes a row's bits.

        Raises `EngineStartError` where that cannot be had.
        """
        if self._rows is None:
            return
        self.attach(num_rows=most_rows + 1)
        stabilise(
            self._rows,
            self._forward_apart,
            vocabulary_size=self.vocabulary_size,
            most_rows=most_rows,
            device=self.device,
        )

    def _forward_stable(
        self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor, *, multiple: int
    ) -> Tensor:
        """The same with as many rows as it takes: those in front are sequences of one token in the dummy block."""
        front = (-len(token_ids) % multiple, 0)
        dummy = SequenceSpan(
            num_queries=1, num_keys=1, blocks=[0], block_size=batch.spans[0].block_size, device=self.device
        )
        self._step.batch = AttentionBatch(F.pad(batch.write_rows, front), (dummy,) * front[0] + batch.spans)
        rows = F.pad(logit_rows + front[0], (0, -len(logit_rows) % multiple))
        return self._forward(F.pad(token_ids, front), F.pad(positions, front), rows)[: len(logit_rows)]

    def _forward_apart(self, token_ids: Tensor, logit_rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows [R] of tokens [T] that do not see each other."""
        spans = tuple(
            SequenceSpan(num_queries=1, num_keys=1, blocks=[row + 1], block_size=1, device=self.device)
            for row in range(len(token_ids))
        )
        batch = AttentionBatch(torch.arange(1, len(token_ids) + 1, device=self.device), spans)
        return self.forward(token_ids, torch.zeros_like(token_ids), batch, logit_rows)

    def _build_kernels(self, folder: Path) -> dict[LayerShape, DecodeAttention | None]:
        if self.device.type != "cpu" or self._dtype != torch.float32:
            return {}
        return {
            layer: build_decode_attention(
                group=layer.num_heads // layer.num_kv_heads,
                key_dim=layer.key_dim,
                value_dim=layer.value_dim,
                folder=folder,
            )
            for layer in set(self.layers)
        }


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
    tolerance = _TOLERANCE[dtype]
    for forward_class in (LeanDecoder, ModuleForward) if is_llama_shaped(config) else (ModuleForward,):
        paged, difference = _load_paged(
            folder,
            config,
            forward_class,
            dtype=dtype,
            device=device,
            kernel_dir=kernel_dir,
            rows=StableRows(torch.get_num_threads()) if deterministic else None,
        )
        if difference <= tolerance:
            return paged
        logger.warning("%s is off by %.2g on the probe text", forward_class.__name__, difference)
        del paged  # or the weights would be in memory twice
    raise mismatch(config, difference, tolerance)


def _load_paged(
    folder: Path,
    config: PreTrainedConfig,
    forward_class: type[LeanDecoder | ModuleForward],
    *,
    dtype: torch.dtype,
    device: torch.device,
    kernel_dir: Path,
    rows: StableRows | None,
) -> tuple[PagedModel, float]:
    """The model on that forward pass, and how far its logits are from the untouched model's."""
    model = _load(folder, dtype=dtype, device=device)
    token_ids = torch.arange(_PROBE_LENGTH, device=device) * 97 % config.vocab_size
    expected = model(input_ids=token_ids.unsqueeze(0), use_cache=False).logits[0]
    attention = _record_attention(model, token_ids[:2])
    check_windows(config, [layer.sliding_window for layer in attention])
    model.set_attn_implementation(ATTENTION_NAME)
    paged = PagedModel(
        forward_class(model, attention, pack=can_pack(device, dtype), rows=rows),
        attention,
        vocabulary_size=expected.shape[-1],
        dtype=dtype,
        device=device,
        kernel_dir=kernel_dir,
        rows=rows,
    )
    return paged, _probe(paged, token_ids, expected)


def _load(folder: Path, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
    except Exception as error:  # damaged weights and missing packages make the readers raise nearly anything
        raise EngineStartError(f"the checkpoint {folder} does not load: {error}") from error


def _record_attention(model: PreTrainedModel, token_ids: Tensor) -> list[AttentionLayer]:
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
