"""How long until a sequence can begin, by the pace of the engine and what is ahead of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from tokenwire.engine.protocol import EngineLoad


@dataclass(frozen=True, slots=True)
class Ahead:
    """What begins, or goes on, before a request does."""

    left: Sequence[float]
    """Of each running sequence, the most tokens that it may still get."""
    num_choices: int
    """Choices that wait before it, in the engine or here."""
    prompt_tokens: float
    """Prompt tokens to be computed before its own."""
    mean_answer: float
    """Mean length of answers without a bound, in tokens."""
    next_answer: float
    """Expected length of the answers that wait, in tokens."""


def wait_s(ahead: Ahead, load: EngineLoad, *, slots: int) -> float | None:
    """Estimated seconds until its first step, in an engine that runs `slots` sequences at once; None: not known.

    Decodes and prompts ahead take their time one after the other, as if no prefix were cached and no draft came true.
    """
    ends = len(ahead.left) + ahead.num_choices + 1 - slots
    if ends <= 0 and not ahead.prompt_tokens:
        return 0.0
    if not load.decode_step_s or not load.prefill_tokens_per_s:
        return None
    steps = _steps_until(ends, ahead) if ends > 0 else 0.0
    return steps * load.decode_step_s + ahead.prompt_tokens / load.prefill_tokens_per_s


def _steps_until(ends: int, ahead: Ahead) -> float:
    """Decode steps until so many sequences have ended, the running ones and those that take their places.

    Each ends by itself at any step with a chance of 1 in `mean_answer`, at the latest at its bound. After that its
    place has an end every `next_answer` steps.
    """
    expected, steps = 0.0, 0.0
    for num_cut, bound in enumerate(sorted(ahead.left)):
        rate = (len(ahead.left) - num_cut) / ahead.mean_answer + num_cut / ahead.next_answer
        if expected + rate * (bound - steps) >= ends:
            return steps + (ends - expected) / rate
        expected += rate * (bound - steps) + exp(-bound / ahead.mean_answer)
        steps = bound
        if expected >= ends:
            return steps
    return steps + (ends - expected) * ahead.next_answer / max(len(ahead.left), 1)
