"""A forward pass that all ranks run at once, each on its part of the heads: rank 0's side and the others'."""

import torch
import torch.distributed as dist
from torch import Tensor

from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.model import Forward
from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.model.parallel.messages import Attach, Run, Span


class ParallelForward:
    """Rank 0's pass. What it does, it has the others do."""

    def __init__(self, forward: Forward, followers: Followers) -> None:
        """`forward` is the pass over rank 0's part of the model."""
        self._forward = forward
        self._followers = followers

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """See `Forward`."""
        self._followers.tell(Attach(num_blocks, block_size))
        self._forward.attach(num_blocks=num_blocks, block_size=block_size)
        self._followers.wait()

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """See `Forward`."""
        self._followers.tell(Run(len(token_ids), len(logit_rows), tuple(map(_without_device, batch.spans))))
        # The tensors go from device to device: this process need not wait until they are computed.
        dist.broadcast(torch.cat((token_ids, positions, batch.write_rows, logit_rows)), 0)
        return self._forward(token_ids, positions, batch, logit_rows)


def run_along(forward: Forward, run: Run, *, device: torch.device) -> None:
    """Another rank's part of a pass."""
    sizes = [run.num_tokens, run.num_tokens, run.num_tokens, run.num_logit_rows]
    packed = torch.empty(sum(sizes), dtype=torch.long, device=device)
    dist.broadcast(packed, 0)
    token_ids, positions, write_rows, logit_rows = torch.split(packed, sizes)
    spans = tuple(
        SequenceSpan(
            num_queries=span.num_queries,
            num_keys=span.num_keys,
            blocks=span.blocks,
            block_size=span.block_size,
            device=device,
        )
        for span in run.spans
    )
    forward(token_ids, positions, AttentionBatch(write_rows, spans), logit_rows)


def _without_device(span: SequenceSpan) -> Span:
    return Span(span.num_queries, span.num_keys, tuple(span.blocks), span.block_size)
