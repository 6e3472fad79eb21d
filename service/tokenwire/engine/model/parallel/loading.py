"""Loading a model onto several ranks: each reads its own part of the weights, and the logits are those of the whole."""

import logging
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.distributed import DistributedConfig

from tokenwire.engine.model.architecture import check_windows, mismatch
from tokenwire.engine.model.kv_cache import default_memory
from tokenwire.engine.model.loading import (
    TOLERANCE,
    Placement,
    load_weights,
    own_logits,
    probe,
    probe_token_ids,
    record_attention,
    torch_passes,
)
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.model.parallel.forward import ParallelForward
from tokenwire.engine.model.parallel.limits import check_model
from tokenwire.engine.model.parallel.messages import Load, Measure, Memory, Prepare
from tokenwire.engine.model.parallel.shards import take_shards

logger = logging.getLogger("tokenwire.engine")


def load_parallel(
    folder: Path,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    kernel_dir: Path,
    followers: Followers,
) -> PagedModel:
    """Load a model on the fastest forward pass over all ranks whose logits are those of the untouched model.

    The ranks have met, and `device` is rank 0's. The untouched model is loaded first, on the CPU: one device may be too
    small for it.

    Raises `EngineStartError` if the model cannot be shared out, does not load, or no pass gives its logits.
    """
    check_model(followers.size, config)
    token_ids = probe_token_ids(config)
    expected = own_logits(load_weights(folder, dtype=dtype, device=token_ids.device), token_ids)
    token_ids, expected = token_ids.to(device), expected.to(device)
    difference = 0.0
    for number, make in enumerate(torch_passes(config)):
        followers.tell(Load(folder, str(dtype).removeprefix("torch.")))
        model = load_shard(folder, size=followers.size, dtype=dtype, device=device)
        followers.wait()
        followers.tell(Prepare(number, kernel_dir))
        attention = record_attention(model, token_ids[:2])
        check_windows(config, [layer.sliding_window for layer in attention])
        forward = make(model, attention, Placement(device, dtype, kernel_dir, rows=None))
        followers.wait()
        paged = PagedModel(
            ParallelForward(forward, followers),
            [layer.shape for layer in attention],
            vocabulary_size=expected.shape[-1],
            device=device,
            rows=None,
        )
        difference = probe(paged, token_ids, expected)
        if difference <= TOLERANCE[dtype]:
            return paged
        logger.warning(
            "%s on %d ranks is off by %.2g on the probe text", type(forward).__name__, followers.size, difference
        )
        del paged, forward, model, attention  # or the weights would be in memory twice
    raise mismatch(config, difference, TOLERANCE[dtype])


def load_shard(folder: Path, *, size: int, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """This rank's part of a checkpoint, as transformers' plan for the architecture shares it out among `size` ranks.

    Raises `EngineStartError` if the checkpoint does not load.
    """
    model = load_weights(folder, dtype=dtype, device=device, distributed_config=DistributedConfig(tp_size=size))
    take_shards(model)
    return model


def smallest_memory(followers: Followers, device: torch.device) -> int:
    """Bytes that each rank has for a key-value cache if none is to have more than the others."""
    followers.tell(Measure())
    memory = [reply.num_bytes for reply in followers.wait() if isinstance(reply, Memory)]
    smallest = min(default_memory(device), *memory)
    return smallest if device.type == "cuda" else smallest // followers.size  # of one memory, which all ranks share
