"""A model on the paged cache: one forward pass over a packed batch, whichever way it is computed."""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tokenwire.engine.model.attention import AttentionBatch, LayerShape, SequenceSpan
from tokenwire.engine.model.stable_rows import StableRows, stabilise
from tokenwire.engine.model.threads import use_threads


class Forward(Protocol):
    """One way to compute the model. It owns its cache, in a layout of its own."""

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """Allocate the key-value cache, in place of the one before. Block 0 is a dummy.

        Raises `EngineStartError` when memory runs out.
        """

    def __call__(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """Token ids [T] and positions [T] of a packed batch, and the rows [R] to answer → logits [R, V].

        Writes the batch's keys and values.
        """


class PagedModel:
    """A causal language model whose attention reads and writes the paged cache."""

    def __init__(
        self,
        forward: Forward,
        layers: Sequence[LayerShape],
        *,
        vocabulary_size: int,
        device: torch.device,
        rows: StableRows | None,
        weights: str = "",
    ) -> None:
        """`rows`, in deterministic mode, is that of the model's layers.

        `weights` says how they are stored; empty: as numbers of the model's type.
        """
        self.weights = weights
        self.vocabulary_size = vocabulary_size
        self.device = device
        self.layers = layers
        self._forward = forward
        self._rows = rows

    @property
    def pass_name(self) -> str:
        """Class of the forward pass that the model runs on."""
        return type(self._forward).__name__

    def attach(self, *, num_blocks: int, block_size: int) -> None:
        """Allocate the key-value cache. Raises `EngineStartError` when memory runs out."""
        self._forward.attach(num_blocks=num_blocks, block_size=block_size)

    def forward(self, token_ids: Tensor, positions: Tensor, batch: AttentionBatch, logit_rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows [R] of a packed batch [T]; writes the batch's keys and values."""
        if self._rows is None:
            return self._forward(token_ids, positions, batch, logit_rows)
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
        self.attach(num_blocks=most_rows + 1, block_size=1)
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
        padded = AttentionBatch(F.pad(batch.write_rows, front), (dummy,) * front[0] + batch.spans)
        rows = F.pad(logit_rows + front[0], (0, -len(logit_rows) % multiple))
        return self._forward(F.pad(token_ids, front), F.pad(positions, front), padded, rows)[: len(logit_rows)]

    def _forward_apart(self, token_ids: Tensor, logit_rows: Tensor) -> Tensor:
        """Logits [R, V] of the chosen rows [R] of tokens [T] that do not see each other."""
        spans = tuple(
            SequenceSpan(num_queries=1, num_keys=1, blocks=[row + 1], block_size=1, device=self.device)
            for row in range(len(token_ids))
        )
        batch = AttentionBatch(torch.arange(1, len(token_ids) + 1, device=self.device), spans)
        return self.forward(token_ids, torch.zeros_like(token_ids), batch, logit_rows)
