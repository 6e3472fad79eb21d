"""The scheduler under random requests, aborts and steps, over a pool that is too small: every answer stays right."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.made_up_model import make, request, run, unbroken
from tokenwire.engine.chunks import StepPlan
from tokenwire.engine.protocol import FinishReason, SamplingParams, SequenceOutput
from tokenwire.engine.sample import StepResult


class SchedulerMachine(RuleBasedStateMachine):
    """Random requests over a pool that is too small for them; every answer must be that of an unbroken run."""

    CONTEXT, BLOCK_SIZE, BLOCKS, RUNNING, STEP_TOKENS = 24, 4, 6, 4, 8

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make(
            blocks=self.BLOCKS,
            block_size=self.BLOCK_SIZE,
            running=self.RUNNING,
            tokens=self.STEP_TOKENS,
            context=self.CONTEXT,
        )
        self.expected: dict[tuple[str, int], tuple[list[int], FinishReason]] = {}
        self.answers: dict[tuple[str, int], list[int]] = defaultdict(list)
        self.kv: dict[int, list[tuple[int, ...]]] = {}
        self.submitted = 0

    @rule(
        prefix=st.sampled_from([1, 2]),
        shared=st.integers(0, 8),
        tail=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        n=st.integers(1, 3),
        max_tokens=st.integers(1, 12),
        seed=st.integers(0, 3),
        ignore_eos=st.booleans(),
        stop_token_ids=st.sampled_from([(), (3,), (4, 5)]),
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
    ) -> None:
        name = f"r{self.submitted}"
        self.submitted += 1
        sampling = SamplingParams(seed, max_tokens, ignore_eos=ignore_eos, stop_token_ids=stop_token_ids)
        prompt = [prefix] * shared + tail
        self.scheduler.submit(request(name, prompt, n=n, sampling=sampling), 0.0)
        for index in range(n):
            self.expected[name, index] = unbroken(tuple(prompt), replace(sampling, seed=seed + index))

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

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), aborts=st.booleans())
    def step(self, data: st.DataObject, aborts: bool) -> None:
        plan = self.scheduler.plan(0.0)
        self.check(plan)
        samples = self.compute(plan)
        if aborts:
            self.abort(data, whole=False)
        for output in self.scheduler.commit(plan, samples):
            self.take(output)

    def check(self, plan: StepPlan) -> None:
        """A step does work, keeps its limits, and writes to no block that somebody else reads."""
        pool = self.scheduler._pool
        assert 0 < plan.num_tokens <= self.STEP_TOKENS
        assert len({chunk.sequence.slot for chunk in plan.chunks}) == len(plan.chunks)
        for chunk in plan.chunks:
            table = chunk.sequence.block_table
            assert chunk.count > 0
            assert chunk.start + chunk.count <= len(table) * self.BLOCK_SIZE
            assert chunk.sequence.slot in range(self.RUNNING)
            for block in table[chunk.start // self.BLOCK_SIZE :]:
                assert pool.ref_count(block) == 1
                assert not pool.is_cached(block)

    def compute(self, plan: StepPlan) -> StepResult:
        """The made-up model with a made-up cache: what a position wrote to its block must still be there."""
        for chunk in plan.chunks:
            token_ids = chunk.sequence.token_ids
            for position in range(chunk.start, chunk.start + chunk.count):
                rows = self.kv.setdefault(self.block(chunk.sequence.block_table, position), [()] * self.BLOCK_SIZE)
                rows[position % self.BLOCK_SIZE] = tuple(token_ids[: position + 1])
        for chunk in plan.chunks:
            for position in range(chunk.start + chunk.count):
                rows = self.kv[self.block(chunk.sequence.block_table, position)]
                assert rows[position % self.BLOCK_SIZE] == tuple(chunk.sequence.token_ids[: position + 1])
        return run(plan)

    def block(self, table: list[int], position: int) -> int:
        return table[position // self.BLOCK_SIZE]

    def take(self, output: SequenceOutput) -> None:
        key = output.request_id, output.index
        self.answers[key] += output.token_ids
        if output.finish_reason is not None:
            assert (self.answers.pop(key), output.finish_reason) == self.expected.pop(key)

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


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
