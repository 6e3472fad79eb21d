"""One sequence in the engine, and the group of those that share a request. Changed by the scheduler alone."""

from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field, replace
from enum import Enum

from tokenwire.engine.grammar.compiler import Grammar
from tokenwire.engine.protocol import FinishReason, GenerationRequest, SamplingParams, SequenceOutput, TokenLogprobs
from tokenwire.engine.sampling.sample import Sample
from tokenwire.engine.speculation.drafter import Drafter


class SequenceState(Enum):
    """Waiting → running → finished; a preempted sequence waits again, one aborted while it waits never runs."""

    WAITING = "waiting"
    """Holds no slot and no block."""
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class SequenceGroup:
    """The live sequences of one request, and what is told once for all of them."""

    request: GenerationRequest
    arrival_s: float
    grammar: Grammar | None = None
    """That of the sampling, compiled."""
    live: list["Sequence"] = field(default_factory=list)
    """By index; the first one leads: it computes the prompt, and the others find it in the prefix cache."""
    prompt_computed: bool = False
    num_scored: int = 0
    """Prompt tokens whose log-probabilities have been told; the first token of a prompt has none."""
    cached_tokens: int | None = None
    """Prompt tokens found in the prefix cache by the first step that worked on the request; None before it."""
    queue_s: float = 0.0

    @property
    def is_scored(self) -> bool:
        """Whether no log-probability of a prompt token is left to be told."""
        return self.request.prompt_logprobs is None or self.num_scored >= len(self.request.prompt_token_ids) - 1


@dataclass(slots=True, eq=False)
class Sequence:
    """The whole mutable state of a sequence. KV of tokens `[0, num_computed)` is in the blocks of `block_table`."""

    group: SequenceGroup
    index: int
    order: int
    """Of arrival, unique: less came earlier."""
    sampling: SamplingParams
    """With the sequence's own seed."""
    stop_ids: frozenset[int]
    """Token ids that end it, the model's own end-of-text tokens included unless they are ignored. A grammar allows
    them just where the text is complete, and then none are ignored."""
    token_ids: list[int]
    """Prompt, then generated."""
    num_prompt_tokens: int
    num_computed: int = 0
    block_table: list[int] = field(default_factory=list)
    block_hashes: list[bytes] = field(default_factory=list)
    """Of the full blocks of `token_ids`, as far as they were needed."""
    slot: int | None = None
    """Row of the sampler's per-sequence state, in [0, max_running); None while it does not run."""
    state: SequenceState = SequenceState.WAITING
    drafter: Drafter = field(default_factory=Drafter)
    expected: tuple[int, ...] = ()
    """Tokens that may spell what its grammar forces next."""

    @property
    def request_id(self) -> str:
        """The id of its request."""
        return self.group.request.request_id

    @property
    def priority(self) -> int:
        """That of its request: more is served first."""
        return self.group.request.priority

    @property
    def place(self) -> tuple[int, int]:
        """In the order of service: less is served first, and preempted last."""
        return -self.priority, self.order

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and answer so far."""
        return len(self.token_ids)

    @property
    def num_generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether only the newest token of its answer is to be computed."""
        return self.num_computed == len(self.token_ids) - 1 >= self.num_prompt_tokens

    @property
    def may_start(self) -> bool:
        """Whether the prompt can be had from the prefix cache, or it is this sequence that is to compute it."""
        return self.group.prompt_computed or self.group.live[0] is self

    def finish_reason(self) -> FinishReason | None:
        """Why its newest token ends it; None if it goes on."""
        if self.token_ids[-1] in self.stop_ids:
            return FinishReason.STOP
        return FinishReason.LENGTH if self.num_generated >= self.sampling.max_tokens else None

    def output(
        self,
        *,
        samples: AbstractSequence[Sample] = (),
        finish_reason: FinishReason | None = None,
        prompt_logprobs: tuple[TokenLogprobs, ...] = (),
    ) -> SequenceOutput:
        """What a step gave to it."""
        return SequenceOutput(
            request_id=self.request_id,
            index=self.index,
            token_ids=tuple(sample.token_id for sample in samples if sample.token_id is not None),
            logprobs=tuple(sample.logprobs for sample in samples if sample.logprobs is not None),
            finish_reason=finish_reason,
            cached_tokens=self.group.cached_tokens or 0,
            queue_s=self.group.queue_s,
            prompt_logprobs=prompt_logprobs,
        )


def open_group(
    request: GenerationRequest,
    *,
    arrival_s: float,
    first_order: int,
    eos_token_ids: frozenset[int],
    grammar: Grammar | None = None,
) -> SequenceGroup:
    """The open sequences of a request, all waiting, with orders from `first_order` on.

    One that is resumed is like one that was preempted, and what its caller was told once is not told anew.
    """
    group = SequenceGroup(request, arrival_s, grammar)
    if request.resumption is not None:
        group.num_scored = request.resumption.num_scored
        group.cached_tokens = request.resumption.cached_tokens
        group.queue_s = request.resumption.queue_s
    sampling = request.sampling
    ignores_eos = sampling.ignore_eos and grammar is None
    stop_ids = frozenset(sampling.stop_token_ids) | (frozenset() if ignores_eos else eos_token_ids)
    for index, generated in request.open_sequences:
        group.live.append(
            Sequence(
                group=group,
                index=index,
                order=first_order + index,
                sampling=replace(sampling, seed=_wrap_int64(sampling.seed + index)),
                stop_ids=stop_ids,
                token_ids=[*request.prompt_token_ids, *generated],
                num_prompt_tokens=len(request.prompt_token_ids),
            )
        )
    return group


def _wrap_int64(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)
