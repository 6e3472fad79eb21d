"""One engine step on the device: a plan becomes tensors, a forward pass and samples."""

from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.threads import use_threads
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.engine.sampling.logprobs import prompt_logprobs
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.chunks import Chunk, Chunking, StepPlan
from tokenwire.engine.scheduling.sequence import Sequence


@dataclass(frozen=True, slots=True)
class _Piece:
    """Positions of a sequence that attention works on together."""

    sequence: Sequence
    positions: range


class ModelRunner:
    """Runs step plans. Holds no state of a request but what the sampler keeps in the request's slot."""

    def __init__(
        self,
        model: PagedModel,
        sampler: Sampler,
        *,
        block_size: int,
        chunking: Chunking,
    ) -> None:
        self._model = model
        self._sampler = sampler
        self._block_size = block_size
        self._chunking = chunking
        self._slot_owners: dict[int, tuple[Sequence, int]] = {}

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> StepResult:
        """Run a plan of the scheduler with the same `chunking`."""
        with use_threads(self._model.num_threads):
            sampling = [chunk for chunk in plan.chunks if chunk.samples]
            scored = [chunk for chunk in plan.chunks if chunk.scored]
            logits = self._forward(plan.chunks, sampling, scored)
            return StepResult(
                samples=self._sample(logits[: len(sampling)], sampling),
                prompt_logprobs=self._score(logits[len(sampling) :], scored),
            )

    def _sample(self, logits: Tensor, chunks: AbstractSequence[Chunk]) -> list[Sample]:
        if not chunks:
            return []
        for chunk in chunks:
            self._claim_slot(chunk.sequence)
        return self._sampler.sample(logits, [_slot(chunk.sequence) for chunk in chunks])

    def _score(self, logits: Tensor, chunks: AbstractSequence[Chunk]) -> list[tuple[TokenLogprobs, ...]]:
        """Log-probabilities of the prompt tokens behind the scored positions, whose logits [R, V] these are."""
        scores: list[tuple[TokenLogprobs, ...]] = []
        first = 0
        for chunk in chunks:
            request, positions = chunk.sequence.group.request, chunk.scored
            next_ids = request.prompt_token_ids[positions.start + 1 : positions.stop + 1]
            rows = logits[first : first + len(positions)]
            scores.append(tuple(prompt_logprobs(rows, next_ids, num_top=request.prompt_logprobs or 0)))
            first += len(positions)
        return scores

    def _forward(
        self, chunks: AbstractSequence[Chunk], sampling: AbstractSequence[Chunk], scored: AbstractSequence[Chunk]
    ) -> Tensor:
        """Logits [R, V]: of the last rows of the sampling chunks, then of all scored positions."""
        device = self._model.device
        token_ids: list[int] = []
        positions: list[int] = []
        write_rows: list[int] = []
        row_of: dict[tuple[Sequence, int], int] = {}
        pieces = [_Piece(chunk.sequence, piece) for chunk in chunks for piece in self._chunking.pieces(chunk)]
        # Decodes first, as the attention wants them; a piece of one token is one, wherever it stands in its sequence.
        pieces.sort(key=lambda piece: len(piece.positions) > 1)
        for piece in pieces:
            span = piece.positions
            row_of.update(((piece.sequence, position), row) for row, position in enumerate(span, len(row_of)))
            token_ids += piece.sequence.token_ids[span.start : span.stop]
            positions += span
            write_rows += self._rows(piece.sequence.block_table, span.start, span.stop)
        batch = AttentionBatch(write_rows=torch.tensor(write_rows, device=device), spans=tuple(map(self._span, pieces)))
        logit_rows = [row_of[chunk.sequence, chunk.end - 1] for chunk in sampling]
        logit_rows += [row_of[chunk.sequence, position] for chunk in scored for position in chunk.scored]
        return self._model.forward(
            torch.tensor(token_ids, device=device),
            torch.tensor(positions, device=device),
            batch,
            torch.tensor(logit_rows, dtype=torch.long, device=device),
        )

    def _span(self, piece: _Piece) -> SequenceSpan:
        num_keys = piece.positions.stop
        return SequenceSpan(
            num_queries=len(piece.positions),
            num_keys=num_keys,
            blocks=piece.sequence.block_table[: -(-num_keys // self._block_size)],
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
