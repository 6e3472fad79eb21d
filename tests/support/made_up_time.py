"""The scheduler with the made-up model, in made-up time: a step lasts as long as a formula says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from support.made_up_model import run
from tokenwire.engine.protocol import GenerationRequest, SequenceOutput
from tokenwire.engine.scheduling.chunks import StepPlan
from tokenwire.engine.scheduling.scheduler import Scheduler

StepTime = Callable[[int, int], float]
"""Seconds of a step of so many tokens of decodes, and so many of prompts."""


def cpu_time(decodes: int, prefill: int) -> float:
    """Like a small model on two cores."""
    return 0.045 + 0.003 * decodes + 0.002 * prefill


def gpu_time(decodes: int, prefill: int) -> float:
    """Like a model of 8 billion parameters on a big GPU."""
    return 0.006 + 0.00003 * (decodes + prefill)


@dataclass(slots=True)
class MadeUpTime:
    """Steps a scheduler and notes when its tokens come."""

    scheduler: Scheduler
    step_time: StepTime
    is_paced: bool = True
    now: float = 0.0
    plans: list[StepPlan] = field(default_factory=list)
    submitted_s: dict[str, float] = field(default_factory=dict)
    tokens_s: dict[str, list[float]] = field(default_factory=dict)
    """When the tokens of a request came."""

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request now."""
        self.submitted_s[request.request_id] = self.now
        self.tokens_s[request.request_id] = []
        self.scheduler.submit(request, self.now)

    def step(self) -> tuple[SequenceOutput, ...]:
        """One step."""
        plan = self.scheduler.plan(self.now)
        elapsed_s = self.step_time(plan.num_decode_tokens, plan.num_tokens - plan.num_decode_tokens)
        outputs = self.scheduler.commit(plan, run(plan))
        if self.is_paced:
            self.scheduler.observe(plan, elapsed_s)
        self.now += elapsed_s
        self.plans.append(plan)
        for output in outputs:
            self.tokens_s[output.request_id] += [self.now] * len(output.token_ids)
        return outputs

    def finish(self) -> None:
        """Step until nothing is live."""
        while self.scheduler.has_work:
            self.step()

    def first_token_s(self, name: str) -> float:
        """How long a request waited for its first token."""
        return self.tokens_s[name][0] - self.submitted_s[name]

    def gaps_s(self, name: str) -> list[float]:
        """The times between the tokens of a request."""
        times = self.tokens_s[name]
        return [later - earlier for earlier, later in pairwise(times)]
