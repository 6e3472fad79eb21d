"""Where the GPU's kernels run in tests: on the device, or, where there is none, in Triton's interpreter on the CPU."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tokenwire.engine.model.architecture import load_config
from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.gpu.decode_attention import Tuning
from tokenwire.engine.model.gpu.decoder import GpuDecoder
from tokenwire.engine.model.loading import load_weights, record_attention
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.stable_rows import StableRows

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="there is no CUDA device")

SMALL = Tuning(split=32, block_keys=16, num_warps=1, num_stages=2)
"""Cuts so that short texts have several splits."""


def scattered_spans(
    sizes: Sequence[tuple[int, int]], *, block_size: int, num_blocks: int, seed: int = 0
) -> list[SequenceSpan]:
    """Sequences of (queries, keys) whose blocks are anywhere but in the dummy block."""
    free = (torch.randperm(num_blocks - 1, generator=torch.Generator().manual_seed(seed)) + 1).tolist()
    spans = []
    for num_queries, num_keys in sizes:
        count = -(-num_keys // block_size)
        blocks, free = free[:count], free[count:]
        spans.append(SequenceSpan(num_queries, num_keys, blocks, block_size, DEVICE))
    return spans


def rows_of(span: SequenceSpan, positions: range) -> list[int]:
    """Rows of the cache of these positions."""
    size = span.block_size
    return [span.blocks[position // size] * size + position % size for position in positions]


def load_gpu_decoder(
    folder: Path, *, dtype: torch.dtype = torch.float32, rows: StableRows | None = None, tuning: Tuning = SMALL
) -> PagedModel:
    """A checkpoint on the pass of the GPU."""
    config = load_config(folder)
    with torch.inference_mode():
        model = load_weights(folder, dtype=dtype, device=DEVICE)
        attention = record_attention(model, torch.tensor([1, 2], device=DEVICE))
        decoder = GpuDecoder(model, attention, dtype=dtype, device=DEVICE, rows=rows, tuning=tuning)
        shapes = [layer.shape for layer in attention]
        return PagedModel(decoder, shapes, vocabulary_size=config.vocab_size, device=DEVICE, rows=rows)


@torch.inference_mode()
def forward(model: PagedModel, texts: Sequence[Sequence[int]], spans: Sequence[SequenceSpan]) -> Tensor:
    """Logits [T, V] of all queries of a batch: each span stands at the end of its text so far."""
    token_ids: list[int] = []
    positions: list[int] = []
    write_rows: list[int] = []
    for text, span in zip(texts, spans, strict=True):
        places = range(span.num_keys - span.num_queries, span.num_keys)
        token_ids += [text[place] for place in places]
        positions += places
        write_rows += rows_of(span, places)
    batch = AttentionBatch(torch.tensor(write_rows, device=DEVICE), tuple(spans))
    return model.forward(
        torch.tensor(token_ids, device=DEVICE),
        torch.tensor(positions, device=DEVICE),
        batch,
        torch.arange(len(token_ids), device=DEVICE),
    )
