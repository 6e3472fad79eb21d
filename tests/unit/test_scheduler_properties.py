"""The scheduler under random requests, aborts and steps, over a pool that is too small: every answer stays right."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.made_up_model import FREE, LOOPING, MODEL, make, request, score
from tokenwire.engine.protocol import FinishReason, SamplingParams, SequenceOutput, TokenLogprobs
from tokenwire.engine.sampling.sample import StepResult
from tokenwire.engine.scheduling.chunks import Chunk, Chunking, StepPlan


class SchedulerMachine(RuleBasedStateMachine):
    """Random requests over a pool that is too small for them; every answer must be that of an unbroken run."""

    CONTEXT, BLOCK_SIZE, BLOCKS, RUNNING, STEP_TOKENS = 24, 4, 6, 4, 8
    CHUNKING = FREE
    MODEL = MODEL
    SPECULATION = False

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make(
            blocks=self.BLOCKS,
            block_size=self.BLOCK_SIZE,
            running=self.RUNNING,
            tokens=self.STEP_TOKENS,
            context=self.CONTEXT,
            chunking=self.CHUNKING,
            speculation=self.SPECULATION,
        )
        self.expected: dict[tuple[str, int], tuple[list[int], FinishReason]] = {}
        self.answers: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.prompt_logprobs: dict[str, list[TokenLogprobs]] = {}
        """Those that are still to come of the live requests that asked for them."""
        self.kv: dict[int, list[object]] = {}
        self.submitted = 0

    @rule(
        prefix=st.sampled_from([1, 2]),
        shared=st.integers(0, 12),
        tail=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        n=st.integers(1, 3),
        max_tokens=st.integers(1, 8),
        seed=st.integers(0, 3),
        ignore_eos=st.booleans(),
        stop_token_ids=st.sampled_from([(), (3,), (4, 5)]),
        priority=st.integers(-1, 1),
        scored=st.booleans(),
    )
    def submit(
        self,
        prefix: int,
        shared: int,
        tail: list[int],
        n: int,
        max_tokens: int,
        seed: int,
        ignore_eos: bool,
        stop_token_ids: tuple[int, ...],
        priority: int,
        scored: bool,
    ) -> None:
        name = f"r{self.submitted}"
        self.submitted += 1
        sampling = SamplingParams(seed, max_tokens, ignore_eos=ignore_eos, stop_token_ids=stop_token_ids)
        prompt = [prefix] * shared + tail
        submitted = request(name, prompt, n=n, sampling=sampling)
        self.scheduler.submit(replace(submitted, priority=priority, prompt_logprobs=0 if scored else None), 0.0)
        if scored:
            self.prompt_logprobs[name] = [score(position) for position in range(len(prompt) - 1)]
        for index in range(n):
            self.expected[name, index] = self.MODEL.unbroken(tuple(prompt), replace(sampling, seed=seed + index))

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), whole=st.booleans())
    def abort(self, data: st.DataObject, whole: bool) -> None:
        name, index = data.draw(st.sampled_from(sorted(self.expected)))
        live = [key for key in self.expected if key[0] == name and (whole or key[1] == index)]
        outputs = self.scheduler.abort(name, None if whole else index)
        assert [(output.request_id, output.index) for output in outputs] == live
        assert {output.finish_reason for output in outputs} == {FinishReason.ABORTED}
        for key in live:
            del self.expected[key]
            self.answers.pop(key, None)
        self.forget(name)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), aborts=st.booleans(), elapsed_s=st.none() | st.floats(0.01, 1))
    def step(self, data: st.DataObject, aborts: bool, elapsed_s: float | None) -> None:
        plan = self.scheduler.plan(0.0)
        self.check(plan)
        samples = self.compute(plan)
        if aborts:
            self.abort(data, whole=False)
        if elapsed_s is not None:
            self.scheduler.observe(plan, elapsed_s)  # before the commit or after it: a plan knows what its chunks are
        for output in self.scheduler.commit(plan, samples):
            self.take(output)

    def check(self, plan: StepPlan) -> None:
        """A step does work, keeps its limits, and writes to no block that somebody else reads."""
        pool = self.scheduler._pool
        could_run = [sequence.priority for sequence in self.scheduler._waiting if sequence.may_start]
        assert max(could_run, default=-9) <= max(sequence.priority for sequence in self.scheduler._running)
        assert 0 < plan.num_tokens <= self.STEP_TOKENS
        assert len({chunk.sequence.slot for chunk in plan.chunks}) == len(plan.chunks)
        for chunk in plan.chunks:
            table = chunk.sequence.block_table
            assert chunk.count > 0
            assert chunk.positions.stop <= len(table) * self.BLOCK_SIZE
            assert not chunk.drafts or chunk.samples
            assert not chunk.scored or chunk.start <= chunk.scored.start < chunk.scored.stop <= chunk.end
            assert [position for piece in self.CHUNKING.pieces(chunk) for position in piece] == [*chunk.positions]
            assert chunk.sequence.slot in range(self.RUNNING)
            for block in table[chunk.start // self.BLOCK_SIZE :]:
                assert pool.ref_count(block) == 1
                assert not pool.is_cached(block)

    def compute(self, plan: StepPlan) -> StepResult:
        """The made-up model with a made-up cache: what a position wrote to its block must still be there."""
        for chunk in plan.chunks:
            token_ids = [*chunk.sequence.token_ids[: chunk.end], *chunk.drafts]
            for piece in self.CHUNKING.pieces(chunk):
                for position in piece:
                    rows = self.kv.setdefault(self.block(chunk.sequence.block_table, position), [()] * self.BLOCK_SIZE)
                    rows[position % self.BLOCK_SIZE] = tuple(token_ids[: position + 1]), self.shape(piece)
        for chunk in plan.chunks:
            for position in range(chunk.end):
                rows = self.kv[self.block(chunk.sequence.block_table, position)]
                prefix, expected = tuple(chunk.sequence.token_ids[: position + 1]), self.expected_piece(chunk, position)
                assert rows[position % self.BLOCK_SIZE] == (prefix, self.shape(expected))
        return self.MODEL.run(plan)

    def shape(self, piece: range) -> range | None:
        """What of the way of computing KV must never change: nothing, unless chunks are fixed."""
        return None if self.CHUNKING.size is None else piece

    def expected_piece(self, chunk: Chunk, position: int) -> range:
        """Fixed chunks in the prompt, one token at a time behind it."""
        size, prompt = self.CHUNKING.size or 1, chunk.sequence.num_prompt_tokens
        start = position // size * size
        return range(position, position + 1) if position >= prompt else range(start, min(start + size, prompt))

    def block(self, table: list[int], position: int) -> int:
        return table[position // self.BLOCK_SIZE]

    def take(self, output: SequenceOutput) -> None:
        key = output.request_id, output.index
        self.answers[key] += output.token_ids
        if output.prompt_logprobs:
            assert output.index == min(index for name, index in self.expected if name == output.request_id)
            awaited = self.prompt_logprobs[output.request_id]
            assert awaited[: len(output.prompt_logprobs)] == list(output.prompt_logprobs)
            del awaited[: len(output.prompt_logprobs)]
        if output.token_ids:
            assert not self.prompt_logprobs.get(output.request_id)
        if output.finish_reason is not None:
            assert (self.answers.pop(key), output.finish_reason) == self.expected.pop(key)
            self.forget(output.request_id)

    def forget(self, name: str) -> None:
        if all(live != name for live, _ in self.expected):
            self.prompt_logprobs.pop(name, None)

    @rule()
    def preempt(self) -> None:
        self.scheduler.preempt_all()

    @invariant()
    def no_block_is_leaked_or_shared_wrongly(self) -> None:
        self.scheduler.check_integrity()
        load = self.scheduler.load(0)
        assert load.running + load.waiting == len(self.expected)
        assert load.running <= self.RUNNING

    def teardown(self) -> None:
        """All that is live comes to its end, within the steps that one after the other would take, at worst."""
        most_steps = sum(self.CONTEXT for _ in self.expected)
        for _ in range(most_steps):
            if self.expected:
                plan = self.scheduler.plan(0.0)
                self.check(plan)
                for output in self.scheduler.commit(plan, self.compute(plan)):
                    self.take(output)
        assert not self.expected
        assert not self.scheduler.has_work
        assert self.scheduler.load(0).free_blocks == self.BLOCKS
        self.scheduler.check_integrity()


class FixedChunksMachine(SchedulerMachine):
    """The same in deterministic mode: a token's KV is always computed in the same shape."""

    STEP_TOKENS = 13
    CHUNKING = Chunking(8)


class SpeculatingMachine(SchedulerMachine):
    """The same with drafts, many of them right: KV of those that were wrong is never read."""

    MODEL = LOOPING
    SPECULATION = True


class FixedSpeculatingMachine(FixedChunksMachine):
    """Both."""

    MODEL = LOOPING
    SPECULATION = True


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestFixedChunksMachine = FixedChunksMachine.TestCase
TestFixedChunksMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSpeculatingMachine = SpeculatingMachine.TestCase
TestSpeculatingMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFixedSpeculatingMachine = FixedSpeculatingMachine.TestCase
TestFixedSpeculatingMachine.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
