"""What a rank above 0 does for each order of rank 0."""

import torch
from transformers import PreTrainedModel

from tokenwire.engine.model.device import quiet_libraries
from tokenwire.engine.model.kv_cache import default_memory
from tokenwire.engine.model.loading import Placement, probe_token_ids, record_attention, torch_passes
from tokenwire.engine.model.model import Forward
from tokenwire.engine.model.parallel.forward import run_along
from tokenwire.engine.model.parallel.group import join_group
from tokenwire.engine.model.parallel.loading import load_shard
from tokenwire.engine.model.parallel.messages import (
    Attach,
    Done,
    Join,
    Load,
    Measure,
    Memory,
    Order,
    Prepare,
    Reply,
    Run,
)


class Rank:
    """One rank's part of the model."""

    def __init__(self, number: int) -> None:
        quiet_libraries()
        self._number = number
        self._size = 1
        self._device = torch.device("cpu")
        self._model: PreTrainedModel | None = None
        self._forward: Forward | None = None

    @torch.inference_mode()
    def obey(self, order: Order) -> Reply | None:
        """Do what rank 0 does now; its answer, if it is answered. Raises `EngineStartError`."""
        match order:
            case Join():
                self._size, self._device = order.size, join_group(order, rank=self._number)
            case Load():
                self._model = self._forward = None  # or the weights would be in memory twice
                self._model = load_shard(
                    order.folder, size=self._size, dtype=getattr(torch, order.dtype), device=self._device
                )
            case Prepare():
                self._prepare(order)
            case Measure():
                return Memory(default_memory(self._device))
            case Attach():
                assert self._forward is not None
                self._forward.attach(num_blocks=order.num_blocks, block_size=order.block_size)
            case Run():
                assert self._forward is not None
                run_along(self._forward, order, device=self._device)
                return None
        return Done()

    def _prepare(self, order: Prepare) -> None:
        assert self._model is not None
        config, dtype = self._model.config, self._model.dtype
        attention = record_attention(self._model, probe_token_ids(config)[:2].to(self._device))
        make = list(torch_passes(config))[order.pass_number]
        self._forward = make(self._model, attention, Placement(self._device, dtype, order.kernel_dir, rows=None))
