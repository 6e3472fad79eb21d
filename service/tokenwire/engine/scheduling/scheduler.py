"""Which sequences work on how many tokens in the next step, and what becomes of them after it. Imports no torch."""

from bisect import insort
from collections.abc import Iterable
from collections.abc import Sequence as AbstractSequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import takewhile
from operator import attrgetter

from tokenwire.engine.grammar.compiler import Grammar
from tokenwire.engine.protocol import EngineLoad, FinishReason, GenerationRequest, SequenceOutput, TokenLogprobs
from tokenwire.engine.sampling.sample import Sample, StepResult
from tokenwire.engine.scheduling.blocks import BlockPool, extend_hashes
from tokenwire.engine.scheduling.chunks import Chunk, Chunking, StepPlan, check_step_budget
from tokenwire.engine.scheduling.headroom import Headroom
from tokenwire.engine.scheduling.pace import Pace
from tokenwire.engine.scheduling.sequence import Sequence, SequenceGroup, SequenceState, open_group
from tokenwire.engine.scheduling.squeeze import Squeeze

_PLACE = attrgetter("place")


class Scheduler:
    """Serves sequences by priority, then arrival. No phases: a step hands out a budget of tokens, running ones first.

    One rule, "compute from `num_computed` on", covers chunked prefill, decode, prefix hits and what was preempted.
    Each step plans (`plan`), is run by others, and is told its samples (`commit`).
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_running: int,
        max_step_tokens: int,
        eos_token_ids: Iterable[int],
        context_length: int,
        vocabulary_size: int,
        chunking: Chunking,
        speculation: bool = False,
    ) -> None:
        check_step_budget(max_step_tokens, max_running=max_running, block_size=pool.block_size, chunking=chunking)
        if context_length > pool.capacity_tokens:
            raise ValueError(
                f"the KV cache holds {pool.capacity_tokens} tokens, less than a context of {context_length}"
            )
        self._pool = pool
        self._max_running = max_running
        self._eos_token_ids = frozenset(eos_token_ids)
        self._context_length = context_length
        self._vocabulary_size = vocabulary_size
        self._chunking = chunking
        self._speculation = speculation
        least_prefill = max(pool.block_size, chunking.least_tokens)
        self._headroom = Headroom(pool.block_size)
        self._squeeze = Squeeze(most_running=max_running, most_tokens=max_step_tokens, least_tokens=least_prefill)
        self._pace = Pace(least_tokens=least_prefill, most_tokens=max_step_tokens)
        self._free_slots = list(range(max_running))  # a heap: the lowest one is taken first
        self._groups: dict[str, SequenceGroup] = {}
        self._waiting: list[Sequence] = []  # both in order of service
        self._running: list[Sequence] = []
        self._next_order = 0
        self._preemptions = 0
        self._drafted_tokens = 0
        self._accepted_tokens = 0

    @property
    def has_work(self) -> bool:
        """Whether a sequence is live; if so, `plan` gives at least one chunk."""
        return bool(self._waiting or self._running)

    def load(self, step: int) -> EngineLoad:
        """The figures after step number `step`."""
        return EngineLoad(
            step=step,
            running=len(self._running),
            waiting=len(self._waiting),
            free_blocks=self._pool.num_free,
            total_blocks=self._pool.num_blocks - 1,
            preemptions=self._preemptions,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
            decode_step_s=self._pace.decode_step_s(len(self._running)),
            prefill_tokens_per_s=self._pace.prefill_tokens_per_s,
        )

    def submit(self, request: GenerationRequest, now: float, grammar: Grammar | None = None) -> None:
        """Put the sequences of a request in line at `now` seconds. `grammar` is that of its sampling, compiled.

        Raises `ValueError` if they could never run.
        """
        self._check(request)
        group = open_group(
            request,
            arrival_s=now,
            first_order=self._next_order,
            eos_token_ids=self._eos_token_ids,
            grammar=grammar,
        )
        self._next_order += request.n
        self._groups[request.request_id] = group
        for sequence in group.live:
            insort(self._waiting, sequence, key=_PLACE)

    def abort(self, request_id: str, index: int | None = None) -> tuple[SequenceOutput, ...]:
        """Drop a request or one sequence of it, and free its slot and blocks at once. Harmless if it is not live."""
        group = self._groups.get(request_id)
        live = () if group is None else tuple(group.live)
        dropped = [sequence for sequence in live if index is None or sequence.index == index]
        for sequence in dropped:
            self._finish(sequence)
        return tuple(sequence.output(finish_reason=FinishReason.ABORTED) for sequence in dropped)

    def plan(self, now: float) -> StepPlan:
        """Choose the work of the next step and take the blocks for it. `now` in seconds, of the clock of `submit`."""
        self._start_urgent(now)
        prefill = self._prefill_budget()
        chunks = self._continue_running(prefill)
        prefill -= sum(chunk.count for chunk in chunks if not chunk.is_decode)
        left = self._squeeze.max_tokens - sum(chunk.count for chunk in chunks)
        chunks += self._admit_waiting(min(left, prefill), now)
        return StepPlan(tuple(self._with_drafts(chunks) if self._speculation else chunks))

    def commit(self, plan: StepPlan, result: StepResult) -> tuple[SequenceOutput, ...]:
        """Take in what a step gave. A sequence that was aborted since the plan is passed over."""
        if len(result.samples) != plan.num_samples:
            raise ValueError(f"the plan samples from {plan.num_samples} chunks; got {len(result.samples)}")
        self._squeeze.note_success()
        outputs: list[SequenceOutput] = []
        remaining, scores = iter(result.samples), iter(result.prompt_logprobs)
        for chunk in plan.chunks:
            samples = next(remaining) if chunk.samples else ()
            prompt_logprobs = next(scores) if chunk.scored else ()
            if chunk.sequence.state is SequenceState.RUNNING:
                outputs += self._take(chunk, samples, prompt_logprobs)
        return tuple(outputs)

    def back_off(self, plan: StepPlan) -> tuple[SequenceOutput, ...]:
        """Take in that a step ran out of memory and has not been: the latest half of the running sequences wait, and
        steps are smaller for a while. Where one of a single sequence is as small as can be, the sequence fails.
        """
        if self._squeeze.is_least:
            for chunk in plan.chunks:
                self._finish(chunk.sequence)
            return tuple(chunk.sequence.output(finish_reason=FinishReason.FAULT) for chunk in plan.chunks)
        self._squeeze.note_failure(running=len(self._running), tokens=plan.num_tokens)
        while len(self._running) > self._squeeze.max_running:
            self._preempt(self._running[-1])
        return ()

    def observe(self, plan: StepPlan, elapsed_s: float) -> None:
        """Learn how long a step took, from one plan to the next. Without it prompts take all of a step's budget."""
        decode = plan.num_decode_tokens
        self._pace.observe(decode_tokens=decode, prefill_tokens=plan.num_tokens - decode, elapsed_s=elapsed_s)

    def preempt_all(self) -> None:
        """Preempt every running sequence, as if the cache were full. Between steps."""
        for sequence in reversed(self._running):
            self._preempt(sequence)

    def check_integrity(self) -> None:
        """Raise `RuntimeError` if a block or a slot is leaked or shared wrongly. Costs a pass over all blocks."""
        self._pool.check_integrity([sequence.block_table for sequence in self._running])
        slots = [-1 if sequence.slot is None else sequence.slot for sequence in self._running]
        if sorted([*self._free_slots, *slots]) != list(range(self._max_running)):
            raise RuntimeError(f"the slots are corrupt: held {slots}, free {self._free_slots}")
        for sequence in self._waiting:
            if sequence.slot is not None or sequence.block_table or sequence.num_computed:
                raise RuntimeError(f"sequence {sequence.index} of {sequence.request_id!r} waits and holds memory")
        for line in (self._waiting, self._running):
            if line != sorted(line, key=_PLACE):
                raise RuntimeError(f"not in order of service: {[sequence.place for sequence in line]}")

    def _check(self, request: GenerationRequest) -> None:
        prompt_tokens, max_tokens = len(request.prompt_token_ids), request.sampling.max_tokens
        if request.request_id in self._groups:
            raise ValueError(f"request {request.request_id!r} is live already")
        if prompt_tokens < 1 or max_tokens < 1 or request.n < 1:
            raise ValueError(
                f"prompt, `max_tokens` and `n` must be at least 1; got {prompt_tokens}, {max_tokens} and {request.n}"
            )
        generated = [len(token_ids) for _, token_ids in request.open_sequences]
        if max(generated, default=max_tokens) >= max_tokens:
            raise ValueError(f"nothing is left to generate: of {max_tokens} tokens, {generated} are there")
        if prompt_tokens + max_tokens > self._context_length:
            raise ValueError(
                f"a prompt of {prompt_tokens} tokens and `max_tokens` of {max_tokens} "
                f"exceed the context length of {self._context_length}"
            )
        if (highest := max(request.prompt_token_ids)) >= self._vocabulary_size:
            raise ValueError(f"the prompt has token id {highest}, beyond a vocabulary of {self._vocabulary_size}")

    def _start_urgent(self, now: float) -> None:
        """Start the waiting sequences of higher priority than one that runs, in the place of the lowest if need be."""
        for sequence in tuple(self._waiting):
            if not self._running or sequence.priority <= self._running[-1].priority:
                return
            if not sequence.may_start:
                continue
            if not self._could_displace(sequence):
                return
            while not self._try_start(sequence, now):
                self._preempt(self._running[-1])

    def _could_displace(self, sequence: Sequence) -> bool:
        """Whether it could start if all of lower priority were preempted."""
        kept = [running for running in self._running if running.priority >= sequence.priority]
        if len(kept) >= self._squeeze.max_running:
            return False
        held = {block for running in kept for block in running.block_table}
        cached = self._cached_blocks(sequence)
        missing = self._pool.blocks_for(sequence.num_tokens) - len(cached)
        needed = len(held.union(cached)) + missing + self._headroom.blocks(kept)  # as `_take_prompt_blocks` has it
        return needed < self._pool.num_blocks

    def _prefill_budget(self) -> int:
        """Tokens of prompts, and of what else is to be computed again, that the next step may take."""
        decoding = sum(sequence.is_decoding for sequence in self._running)
        starting = min(len(self._waiting), len(self._free_slots))
        return self._pace.prefill_budget(decoding=decoding, prompts=len(self._running) - decoding + starting)

    def _continue_running(self, prefill: int) -> list[Chunk]:
        """Chunks of the running sequences, at most `prefill` tokens of them of others than decodes.

        The earlier ones have the right of way, and the first always gets on.
        """
        chunks: list[Chunk] = []
        budget = self._squeeze.max_tokens
        decodes = sum(sequence.is_decoding for sequence in self._running)
        for sequence in tuple(self._running):
            if sequence.state is not SequenceState.RUNNING:
                break  # preempted for an earlier one, as are all that follow
            decodes -= sequence.is_decoding
            most = budget - decodes  # a prefill leaves every later decode its token
            count = self._chunking.count(sequence, most if sequence.is_decoding else min(most, prefill))
            if count > 0 and self._make_room(sequence, sequence.num_computed + count):
                chunks.append(_chunk(sequence, count))
                budget -= count
                prefill -= 0 if sequence.is_decoding else count
        return chunks

    def _make_room(self, sequence: Sequence, num_tokens: int) -> bool:
        """Grow its block table to hold `num_tokens`, preempting the latest sequences for it.

        False if it is the latest itself: it keeps what it has and sits the step out, since its blocks may do.
        """
        table = sequence.block_table
        missing = self._pool.blocks_for(num_tokens) - len(table)
        if missing <= 0:
            return True
        while not self._pool.can_allocate(missing):
            if self._running[-1] is sequence:
                return False
            self._preempt(self._running[-1])
            self._headroom.note_preemption()
        table += self._pool.allocate(missing, after=table[-1])
        return True

    def _admit_waiting(self, budget: int, now: float) -> list[Chunk]:
        """Chunks of waiting sequences that begin to run. Nobody overtakes a sequence that lacks a slot or blocks."""
        chunks: list[Chunk] = []
        for sequence in tuple(self._waiting):
            if budget < self._chunking.least_tokens:
                break
            if not sequence.may_start:
                continue
            if not self._try_start(sequence, now):
                break
            count = self._chunking.count(sequence, budget)
            chunks.append(_chunk(sequence, count))
            budget -= count
        return chunks

    def _take_prompt_blocks(self, sequence: Sequence) -> bool:
        """Give it blocks for all its tokens, cached ones first; False, and nothing is taken, if they are not free.

        The running ones must have room to grow beside it, or they would soon preempt it. So one that has just been
        preempted cannot come back in the same step either.
        """
        pool = self._pool
        cached = self._cached_blocks(sequence)
        missing = pool.blocks_for(sequence.num_tokens) - len(cached)
        if not pool.can_allocate(missing + self._headroom.blocks(self._running), beside=cached):
            return False
        pool.acquire(cached)
        most_tokens = sequence.num_prompt_tokens + sequence.sampling.max_tokens
        new = pool.allocate(missing, after=cached[-1] if cached else None, run=pool.blocks_for(most_tokens))
        sequence.block_table = cached + new
        sequence.num_computed = len(cached) * pool.block_size
        return True

    def _cached_blocks(self, sequence: Sequence) -> list[int]:
        """The blocks of its beginning that it need not compute."""
        block_size = self._pool.block_size
        extend_hashes(sequence.block_hashes, sequence.token_ids, block_size)
        # The last token is always computed, cached or not: it gives the logits to sample from.
        most_tokens = min(sequence.num_tokens - 1, self._chunking.num_shareable(sequence))
        if not sequence.group.is_scored:
            most_tokens = min(most_tokens, sequence.group.num_scored)  # it needs the logits of all that follow
        cached = self._pool.match(sequence.block_hashes[: most_tokens // block_size])
        return cached[: len(cached) - len(cached) % -(-self._chunking.least_tokens // block_size)]

    def _try_start(self, sequence: Sequence, now: float) -> bool:
        """Let it run from this step on; False, and nothing has changed, if it lacks a slot or blocks."""
        if len(self._running) >= self._squeeze.max_running or not self._take_prompt_blocks(sequence):
            return False
        self._waiting.remove(sequence)
        insort(self._running, sequence, key=_PLACE)
        sequence.slot = heappop(self._free_slots)
        sequence.state = SequenceState.RUNNING
        group = sequence.group
        if group.cached_tokens is None:
            group.cached_tokens = sequence.num_computed
            group.queue_s = now - group.arrival_s
        return True

    def _preempt(self, sequence: Sequence) -> None:
        """Back in line, in its old place; what it has computed stays in the prefix cache for as long as it can."""
        self._stop_running(sequence)
        sequence.state = SequenceState.WAITING
        insort(self._waiting, sequence, key=_PLACE)
        self._preemptions += 1

    def _stop_running(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self._running.remove(sequence)
        heappush(self._free_slots, sequence.slot)
        self._pool.release(sequence.block_table)
        sequence.slot = None
        sequence.block_table = []
        sequence.num_computed = 0

    def _finish(self, sequence: Sequence) -> None:
        if sequence.state is SequenceState.RUNNING:
            self._stop_running(sequence)
            self._headroom.note_end()
        else:
            self._waiting.remove(sequence)
        sequence.state = SequenceState.FINISHED
        group = sequence.group
        group.live.remove(sequence)
        if not group.live:
            del self._groups[group.request.request_id]

    def _with_drafts(self, chunks: list[Chunk]) -> list[Chunk]:
        """The same, with drafts where they pay and there is room for them: nobody is preempted for a guess."""
        left = self._squeeze.max_tokens - sum(chunk.count for chunk in chunks)
        cost = self._pace.decode_row_cost(sum(chunk.samples for chunk in chunks))
        drafted = []
        for chunk in chunks:
            drafts = self._draft(chunk, cost, most=left) if chunk.samples else ()
            left -= len(drafts)
            drafted.append(replace(chunk, drafts=drafts) if drafts else chunk)
        return drafted

    def _draft(self, chunk: Chunk, cost: float, *, most: int) -> tuple[int, ...]:
        sequence, pool = chunk.sequence, self._pool
        most = min(most, sequence.sampling.max_tokens - sequence.num_generated - 1)
        guess = sequence.drafter.draft(sequence.token_ids, sequence.expected, cost=cost, most=most)
        # A token that would end the sequence is sampled, not drafted: every right draft then has a token behind it.
        draft = tuple(takewhile(lambda token_id: token_id not in sequence.stop_ids, guess))
        table = sequence.block_table
        missing = pool.blocks_for(chunk.end + len(draft)) - len(table)
        if missing > 0 and pool.can_allocate(missing + len(self._running)):  # those may need one each
            table += pool.allocate(missing, after=table[-1])
        return draft[: len(table) * pool.block_size - chunk.end]

    def _take(
        self, chunk: Chunk, samples: AbstractSequence[Sample], prompt_logprobs: tuple[TokenLogprobs, ...]
    ) -> list[SequenceOutput]:
        """Note what a chunk has computed and sampled."""
        sequence = chunk.sequence
        sequence.token_ids += [sample.token_id for sample in samples if sample.token_id is not None]
        num_accepted = max(len(samples) - 1, 0)
        self._advance(chunk, chunk.end + num_accepted)
        if chunk.drafts:
            sequence.drafter.note(drafted=len(chunk.drafts), accepted=num_accepted)
            self._drafted_tokens += len(chunk.drafts)
            self._accepted_tokens += num_accepted
        if samples:
            return self._outputs(sequence, samples, prompt_logprobs)
        return [sequence.output(prompt_logprobs=prompt_logprobs)] if prompt_logprobs else []

    def _advance(self, chunk: Chunk, num_computed: int) -> None:
        """Note the computed tokens, and let the prefix cache find the blocks that they have filled."""
        sequence, block_size = chunk.sequence, self._pool.block_size
        first_block = chunk.start // block_size
        sequence.num_computed = num_computed
        num_full = min(num_computed, self._chunking.num_shareable(sequence)) // block_size
        if num_full > first_block:
            extend_hashes(sequence.block_hashes, sequence.token_ids, block_size)
            for block in range(first_block, num_full):
                self._pool.register(sequence.block_table[block], sequence.block_hashes[block])
        sequence.group.prompt_computed |= sequence.num_computed >= sequence.num_prompt_tokens
        sequence.group.num_scored += len(chunk.scored)

    def _outputs(
        self,
        sequence: Sequence,
        samples: AbstractSequence[Sample],
        prompt_logprobs: tuple[TokenLogprobs, ...],
    ) -> list[SequenceOutput]:
        """What the samples, which are in `token_ids` already, are to the caller; and the end, where they bring it."""
        newest = samples[-1]
        sequence.expected = newest.expected
        reason = newest.finish_reason
        if newest.token_id is not None:
            reason = reason or sequence.finish_reason()
        elif reason is None:
            self._pool.forget(sequence.block_table)  # its KV may be the cause: nobody may inherit it
            reason = FinishReason.FAULT
        if reason is not None:
            self._finish(sequence)
        if newest.token_id is None and len(samples) > 1:  # an end without a token is an output of its own
            tokens = sequence.output(samples=samples[:-1], prompt_logprobs=prompt_logprobs)
            return [tokens, sequence.output(finish_reason=reason)]
        return [sequence.output(samples=samples, finish_reason=reason, prompt_logprobs=prompt_logprobs)]


def _chunk(sequence: Sequence, count: int) -> Chunk:
    start, group = sequence.num_computed, sequence.group
    end = start + count
    scored = range(0) if group.is_scored else range(group.num_scored, min(end, sequence.num_prompt_tokens - 1))
    return Chunk(sequence, start, count, samples=end == sequence.num_tokens, scored=scored)
