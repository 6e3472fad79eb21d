"""The forward pass of Llama-shaped models in C: one call a step, on threads of its own.

What a row gives does not depend on the rows beside it, nor on how its sequence was cut into steps: bit by bit.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from tokenwire.engine.model import kv_cache
from tokenwire.engine.model.attention import AttentionBatch, AttentionLayer, LayerShape
from tokenwire.engine.model.lean import has_right_shape
from tokenwire.engine.model.native.library import build_library
from tokenwire.engine.model.native.structures import Batch, Decoder, Layer, declare
from tokenwire.engine.model.native.weights import Formats, PackedLinear, pack

_SOURCES = (
    *("attention.c", "attention.h", "decoder.c", "decoder.h", "linear.c", "linear.h"),
    *("simd.h", "team.c", "team.h"),
)
# No fused or reordered operations but those that are written: a row's bits must not depend on how a loop was compiled.
COMPILE_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-pthread", "-ffp-contract=off")


def is_native_shaped(config: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this pass is worth a try."""
    return device.type == "cpu" and dtype == torch.float32 and has_right_shape(config)


def load_library(folder: Path) -> ctypes.CDLL | None:
    """The C library, kept in `folder`; None where it cannot be compiled (logged)."""
    library = build_library(
        "decoder", _SOURCES, COMPILE_FLAGS, folder=folder, without="torch computes the model, slower"
    )
    return None if library is None else declare(library)


@dataclass(frozen=True, slots=True)
class _PackedLayer:
    """What a layer's structure points to, and nothing of the model: its own weights are to be freed."""

    shape: LayerShape
    scale: float
    window: int
    qkv: PackedLinear
    output: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear
    input_norm: Tensor
    output_norm: Tensor
    query_norm: Tensor | None
    key_norm: Tensor | None

    @classmethod
    def of(cls, layer: Any, attention: AttentionLayer, library: ctypes.CDLL, formats: Formats) -> "_PackedLayer":
        own, mlp = layer.self_attn, layer.mlp
        return cls(
            attention.shape,
            attention.shape.key_dim**-0.5 if attention.scaling is None else attention.scaling,
            attention.sliding_window or 0,
            qkv=pack(library, [own.q_proj, own.k_proj, own.v_proj], formats.layers),
            output=pack(library, [own.o_proj], formats.layers),
            gate_up=pack(library, [mlp.gate_proj, mlp.up_proj], formats.layers),
            down=pack(library, [mlp.down_proj], formats.layers),
            input_norm=_own(layer.input_layernorm.weight),
            output_norm=_own(layer.post_attention_layernorm.weight),
            query_norm=_own(own.q_norm.weight) if hasattr(own, "q_norm") else None,
            key_norm=_own(own.k_norm.weight) if hasattr(own, "k_norm") else None,
        )

    def structure(self, keys: Tensor, values: Tensor) -> Layer:
        """For C, with this cache."""
        return Layer(
            *(None if weight is None else weight.data_ptr() for weight in self._norms),
            *(linear.structure for linear in self.linears),
            self.window,
            self.scale,
            keys.data_ptr(),
            values.data_ptr(),
        )

    @property
    def linears(self) -> tuple[PackedLinear, ...]:
        """In the order of the structure."""
        return self.qkv, self.output, self.gate_up, self.down

    @property
    def _norms(self) -> tuple[Tensor | None, ...]:
        return self.input_norm, self.output_norm, self.query_norm, self.key_norm


class NativeDecoder:
    """Token ids to logits, in float32 on the CPU. A `Forward`; of the model only the rotation is kept."""

    def __init__(
        self,
        model: Any,
        attention: Sequence[AttentionLayer],
        library: ctypes.CDLL,
        *,
        formats: Formats,
        context_length: int,
        num_threads: int,
    ) -> None:
        """Packs the weights. Those of `model` become what the packed ones stand for, so that it can be compared.

        Raises `MemoryError` if the threads cannot be had.
        """
        decoder = model.model
        self._library = library
        self._context_length = context_length
        self._rotary = decoder.rotary_emb
        self._embedding = decoder.embed_tokens.weight.detach().contiguous()
        self._head = pack(library, [model.lm_head], formats.head)
        self._norm = _own(decoder.norm.weight)
        self._epsilon = float(decoder.norm.variance_epsilon)
        self._layers = [
            _PackedLayer.of(layer, calls, library, formats)
            for layer, calls in zip(decoder.layers, attention, strict=True)
        ]
        self._structure: Decoder | None = None
        self._keeps: list[object] = []
        """What the structure points to."""
        self._pass: int | None = library.pass_new(num_threads)
        if self._pass is None:
            raise MemoryError(f"no memory for {num_threads} threads")

    @property
    def weights(self) -> str:
        """How they are stored: the formats of the layers, then that of the last product."""
        formats = sorted({linear.format.name for layer in self._layers for linear in layer.linears})
        return f"{'+'.join(formats)}/{self._head.format.name}".lower()

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """See `Forward`."""
        shapes = [layer.shape for layer in self._layers]
        caches = kv_cache.allocate(
            shapes, num_rows=num_blocks * block_size, dtype=torch.float32, device=torch.device("cpu")
        )
        num_positions = min(self._context_length, num_blocks * block_size)
        cosines, sines = self._rotary(self._embedding[:1], torch.arange(num_positions).unsqueeze(0))
        cosines, sines = cosines[0].float().contiguous(), sines[0].float().contiguous()
        layers = (Layer * len(self._layers))(
            *(layer.structure(*cache) for layer, cache in zip(self._layers, caches, strict=True))
        )
        shape = shapes[0]
        self._structure = Decoder(
            len(self._layers),
            self._embedding.shape[1],
            shape.num_heads,
            shape.num_kv_heads,
            shape.key_dim,
            self._layers[0].down.inputs,
            num_blocks,
            block_size,
            self._epsilon,
            *(tensor.data_ptr() for tensor in (self._embedding, cosines, sines, self._norm)),
            self._head.structure,
            layers,
        )
        self._keeps = [caches, cosines, sines, layers]

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """See `Forward`."""
        assert self._structure is not None, "attach comes first"
        spans = batch.spans
        width = max(len(span.blocks) for span in spans)
        tables = torch.tensor(
            list(chain.from_iterable((*span.blocks, *[0] * (width - len(span.blocks))) for span in spans)),
            dtype=torch.int32,
        )
        counts = torch.tensor([[span.num_queries for span in spans], [span.num_keys for span in spans]])
        logits = torch.empty(len(logit_rows), self._head.outputs)
        structure = Batch(
            len(token_ids),
            len(spans),
            len(logit_rows),
            width,
            *(tensor.data_ptr() for tensor in (token_ids, positions, counts[0], counts[1], tables, logit_rows)),
        )
        if self._library.pass_run(self._pass, self._structure, structure, logits.data_ptr()):
            raise MemoryError(f"no memory for the activations of {len(token_ids)} tokens")
        return logits

    def __del__(self) -> None:
        if getattr(self, "_pass", None) is not None:
            self._library.pass_free(self._pass)


def _own(weight: Tensor) -> Tensor:
    return weight.detach().float().contiguous()
