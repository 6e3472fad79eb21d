"""Memory of the paged key-value cache: how much it gets, and its tensors."""

from collections.abc import Sequence

import psutil
import torch
from torch import Tensor

from tokenwire.engine.model.attention import LayerShape
from tokenwire.engine.protocol import EngineStartError

# Of the memory that is free once the weights are loaded. A CPU's memory is shared with the rest of the machine.
_CPU_SHARE = 0.25
_CPU_MOST_BYTES = 2 << 30
_GPU_SHARE = 0.90


def count_blocks(
    layers: Sequence[LayerShape],
    *,
    block_size: int,
    dtype: torch.dtype,
    device: torch.device,
    memory_bytes: int | None,
    context_length: int,
    max_running: int,
) -> int:
    """Number of blocks that fit the memory, with the dummy block; no more than `max_running` full contexts need.

    Raises `EngineStartError` where they cannot hold even 16 tokens.
    """
    block_bytes = sum(layer.cached_elements for layer in layers) * dtype.itemsize * block_size
    available = default_memory(device) if memory_bytes is None else memory_bytes
    num_blocks = available // block_bytes
    if (num_blocks - 1) * block_size < 16:
        raise EngineStartError(
            f"the key-value cache needs {block_bytes} bytes for each {block_size} tokens; "
            f"{available} bytes hold less than 16 tokens and a spare block. Give more with --kv-memory"
        )
    return min(num_blocks, max_running * -(-context_length // block_size) + 1)


def allocate(
    layers: Sequence[LayerShape], *, num_rows: int, dtype: torch.dtype, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Keys [1, Hkv, rows, Dk] and values [1, Hkv, rows, Dv] of all layers; rows = blocks × block size.

    Raises `EngineStartError` when memory runs out.

    They are not cleared, for a row is never read before it is written: the memory is touched only as it is used.
    """

    def rows(num_heads: int, dim: int) -> Tensor:
        return torch.empty(1, num_heads, num_rows, dim, dtype=dtype, device=device)

    try:
        return [
            (rows(layer.num_kv_heads, layer.key_dim), rows(layer.num_kv_heads, layer.value_dim)) for layer in layers
        ]
    except (RuntimeError, torch.OutOfMemoryError) as error:
        raise EngineStartError(f"no memory for a key-value cache of {num_rows} tokens: {error}") from None


def default_memory(device: torch.device) -> int:
    """Bytes that a cache gets where nothing else is said."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what loading has freed
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * _GPU_SHARE)
    return min(int(psutil.virtual_memory().available * _CPU_SHARE), _CPU_MOST_BYTES)
