"""One engine step on the device: a plan becomes tensors, a forward pass and samples."""

from collections.abc import Iterator
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.staging import stage
from tokenwire.engine.model.threads import use_threads
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.engine.sampling.logprobs import prompt_logprobs
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.chunks import Chunk, Chunking, StepPlan
from tokenwire.engine.scheduling.sequence import Sequence

_FEW_ROWS = 2
"""So few are sampled on one thread: to wake another takes longer."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Positions of a sequence that attention works on together."""

    sequence: Sequence
    positions: range
    token_ids: AbstractSequence[int]


@dataclass(frozen=True, slots=True)
class RunningStep:
    """A forward pass that has begun."""

    sampling: tuple[Chunk, ...]
    scored: tuple[Chunk, ...]
    logits: Tensor
    """[R, V]: of the newest tokens and drafts of the sampling chunks, then of all scored positions."""


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

    def run(self, plan: StepPlan) -> StepResult:
        """Run a plan of the scheduler with the same `chunking`."""
        return self.finish(self.launch(plan))

    @torch.inference_mode()
    def launch(self, plan: StepPlan) -> RunningStep:
        """Begin a step. A GPU works on by itself: what the host does before `finish` takes no time of the step."""
        sampling = tuple(chunk for chunk in plan.chunks if chunk.samples)
        scored = tuple(chunk for chunk in plan.chunks if chunk.scored)
        with use_threads(self._model.num_threads):
            return RunningStep(sampling, scored, self._forward(plan.chunks, sampling, scored))

    @torch.inference_mode()
    def finish(self, step: RunningStep) -> StepResult:
        """Wait for a step and sample. The sequences must be as they were when it began."""
        num_sampled = sum(1 + len(chunk.drafts) for chunk in step.sampling)
        with use_threads(self._model.num_threads):
            return StepResult(
                samples=self._sample(step.logits[:num_sampled], step.sampling),
                prompt_logprobs=self._score(step.logits[num_sampled:], step.scored),
            )

    def forget(self, plan: StepPlan) -> None:
        """A step has failed, and will be run again: what the sampler has made of it must not count."""
        for chunk in plan.chunks:
            self._slot_owners.pop(_slot(chunk.sequence), None)

    def _sample(self, logits: Tensor, chunks: AbstractSequence[Chunk]) -> list[tuple[Sample, ...]]:
        """Samples from the `logits` [R, V] of each chunk's newest token and drafts.

        One behind the newest tokens of all chunks, then one behind the first drafts that were right, and so on. So each
        is drawn by a sampler that has taken the tokens before it and no others, as if nothing had been drafted.
        """
        first_rows = list(accumulate((1 + len(chunk.drafts) for chunk in chunks), initial=0))
        slots = [self._claim_slot(chunk.sequence) for chunk in chunks]
        samples: list[list[Sample]] = [[] for _ in chunks]
        going_on = list(range(len(chunks)))
        while going_on:
            rows = [first_rows[i] + len(samples[i]) for i in going_on]
            together = len(rows) == len(logits)
            kept = logits if together else logits.index_select(0, stage(rows, device=logits.device))
            with use_threads(1 if len(rows) <= _FEW_ROWS else None):
                drawn = self._sampler.sample(kept, [slots[i] for i in going_on])
            for i, sample in zip(going_on, drawn, strict=True):
                samples[i].append(sample)
            going_on = [i for i in going_on if _is_right(chunks[i].drafts, samples[i])]
        for chunk, drawn in zip(chunks, samples, strict=True):
            self._slot_owners[_slot(chunk.sequence)] = (chunk.sequence, chunk.sequence.num_generated + len(drawn))
        return list(map(tuple, samples))

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
        """Logits [R, V]: of the newest tokens and drafts of the sampling chunks, then of all scored positions."""
        device = self._model.device
        token_ids: list[int] = []
        positions: list[int] = []
        write_rows: list[int] = []
        row_of: dict[tuple[Sequence, int], int] = {}
        pieces = [piece for chunk in chunks for piece in self._pieces(chunk)]
        # Decodes first, as the attention wants them; a piece of one token is one, wherever it stands in its sequence.
        pieces.sort(key=lambda piece: len(piece.positions) > 1)
        for piece in pieces:
            span = piece.positions
            row_of.update(((piece.sequence, position), row) for row, position in enumerate(span, len(row_of)))
            token_ids += piece.token_ids
            positions += span
            write_rows += self._rows(piece.sequence.block_table, span.start, span.stop)
        logit_rows = [
            row_of[chunk.sequence, position] for chunk in sampling for position in chunk.positions[chunk.count - 1 :]
        ]
        logit_rows += [row_of[chunk.sequence, position] for chunk in scored for position in chunk.scored]
        columns = (token_ids, positions, write_rows, logit_rows)
        staged = stage([*chain.from_iterable(columns)], device=device, dtype=torch.long)  # in one copy
        on_device = torch.split(staged, [len(column) for column in columns])
        batch = AttentionBatch(write_rows=on_device[2], spans=tuple(map(self._span, pieces)))
        return self._model.forward(on_device[0], on_device[1], batch, on_device[3])

    def _pieces(self, chunk: Chunk) -> Iterator[_Piece]:
        token_ids = chunk.token_ids
        for positions in self._chunking.pieces(chunk):
            first = positions.start - chunk.start
            yield _Piece(chunk.sequence, positions, token_ids[first : first + len(positions)])

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

    def _claim_slot(self, sequence: Sequence) -> int:
        """Give the sampler what it must know of a sequence that is new in its slot, or back after a preemption."""
        slot = _slot(sequence)
        # A sequence that was preempted and came back to its slot has as many tokens as the sampler has drawn: no claim.
        if self._slot_owners.get(slot) != (sequence, sequence.num_generated):
            prompt = sequence.token_ids[: sequence.num_prompt_tokens]
            generated = sequence.token_ids[sequence.num_prompt_tokens :]
            self._sampler.assign(slot, sequence.sampling, prompt, generated, grammar=sequence.group.grammar)
        return slot


def _is_right(drafts: AbstractSequence[int], samples: AbstractSequence[Sample]) -> bool:
    """Whether there is a draft behind the last but one sample, and the last one is that and ends nothing."""
    newest = samples[-1]
    return len(samples) <= len(drafts) and newest.token_id == drafts[len(samples) - 1] and newest.finish_reason is None


def _slot(sequence: Sequence) -> int:
    if sequence.slot is None:
        raise ValueError(f"{sequence.request_id} was planned without a slot")
    return sequence.slot
