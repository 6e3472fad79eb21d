"""One engine step on the device: a plan becomes tensors, a forward pass and samples."""

from collections.abc import Sequence as AbstractSequence

import torch
from torch import Tensor

from tokenwire.engine.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model import PagedModel
from tokenwire.engine.sample import Sample
from tokenwire.engine.sampler import Sampler
from tokenwire.engine.scheduler import Chunk, StepPlan
from tokenwire.engine.sequence import Sequence


class ModelRunner:
    """Runs step plans. Holds no state of a request but what the sampler keeps in the request's slot."""

    def __init__(self, model: PagedModel, sampler: Sampler, *, block_size: int) -> None:
        self._model = model
        self._sampler = sampler
        self._block_size = block_size
        self._slot_owners: dict[int, tuple[Sequence, int]] = {}

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> list[Sample]:
        """One sample for each sampling chunk of the plan, in order."""
        sampling = [chunk for chunk in plan.chunks if chunk.samples]
        logits = self._forward(plan.chunks)
        if not sampling:
            return []
        for chunk in sampling:
            self._claim_slot(chunk.sequence)
        return self._sampler.sample(logits, [_slot(chunk.sequence) for chunk in sampling])

    def _forward(self, chunks: AbstractSequence[Chunk]) -> Tensor:
        """Logits [R, V] of the sampling chunks, in the order of the plan."""
        device = self._model.device
        token_ids: list[int] = []
        positions: list[int] = []
        write_rows: list[int] = []
        last_rows: dict[Chunk, int] = {}
        # Decodes first, as the attention wants them; a chunk of one token is one, wherever it stands in its sequence.
        packed = sorted(chunks, key=lambda chunk: chunk.count > 1)
        for chunk in packed:
            end = chunk.start + chunk.count
            token_ids += chunk.sequence.token_ids[chunk.start : end]
            positions += range(chunk.start, end)
            write_rows += self._rows(chunk.sequence.block_table, chunk.start, end)
            last_rows[chunk] = len(token_ids) - 1
        batch = AttentionBatch(write_rows=torch.tensor(write_rows, device=device), spans=tuple(map(self._span, packed)))
        logit_rows = [last_rows[chunk] for chunk in chunks if chunk.samples]
        return self._model.forward(
            torch.tensor(token_ids, device=device),
            torch.tensor(positions, device=device),
            batch,
            torch.tensor(logit_rows, dtype=torch.long, device=device),
        )

    def _span(self, chunk: Chunk) -> SequenceSpan:
        num_keys = chunk.start + chunk.count
        return SequenceSpan(
            num_queries=chunk.count,
            num_keys=num_keys,
            blocks=chunk.sequence.block_table[: -(-num_keys // self._block_size)],
            block_size=self._block_size,
            device=self._model.device,
        )

    def _rows(self, blocks: AbstractSequence[int], start: int, end: int) -> list[int]:
        size = self._block_size
        return [blocks[position // size] * size + position % size for position in range(start, end)]

    def _claim_slot(self, sequence: Sequence) -> None:
        """Give the sampler what it must know of a sequence that is new in its slot, or back after a preemption."""
        slot = _slot(sequence)
        # A sequence that was preempted and came back to its slot has as many tokens as the sampler has drawn: no claim.
        if self._slot_owners.get(slot) != (sequence, sequence.num_generated):
            prompt = sequence.token_ids[: sequence.num_prompt_tokens]
            generated = sequence.token_ids[sequence.num_prompt_tokens :]
            self._sampler.assign(slot, sequence.sampling, prompt, generated, grammar=sequence.group.grammar)
        self._slot_owners[slot] = (sequence, sequence.num_generated + 1)


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise ValueError(f"{sequence.request_id} was planned without a slot")
    return sequence.slot
