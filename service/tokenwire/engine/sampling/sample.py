"""What the sampler gives for one row of logits, and a step for all of them."""

from dataclasses import dataclass, field

from tokenwire.engine.protocol import FinishReason, TokenLogprobs


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled token, or the news that the row could not be sampled."""

    token_id: int | None
    """None: the row's logits are not finite (NaN, +inf, or nothing but −inf), or every token is banned."""
    logprobs: TokenLogprobs | None = None
    """None when the sequence did not ask for log-probabilities, or with no token."""
    finish_reason: FinishReason | None = None
    """COMPLETE where the grammar allows nothing more; CONSTRAINT_FAILED, with no token, where it cannot go on."""
    expected: tuple[int, ...] = ()
    """Tokens that may spell what the grammar forces next. A guess: the text is certain, its tokens are not."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step gave, in the order of its plan."""

    samples: list[tuple[Sample, ...]]
    """For each chunk that samples: one, and one more for each of its drafts that was right, up to an end."""
    prompt_logprobs: list[tuple[TokenLogprobs, ...]] = field(default_factory=list)
    """For each chunk with `scored` positions, those of the prompt tokens behind them."""
