"""How many prompt tokens a step may take beside decodes, learned from how long steps take. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import exp, inf, log

_STRETCH = 2.5
"""A step that decodes may last so many times as long as without prompts. These then have 60 % of the time, and gaps
stay within three times the usual one even where the estimate is a fifth too low."""
_PROBE_EVERY = 8
"""One budget of so many is halved. If all were the same, nothing would tell what prompts cost from what decodes do."""
_FIRST_STEP_TOKENS = 32
_FIRST_START_TOKENS = 8
"""First guesses: what every step costs, and what it costs more if it has prompts, in tokens' worth."""
_FIRST_STEPS = 4
"""So many set the scale of all costs together: the very first one may have compiled something."""
_GAIN = 0.5
"""Share of an error that is corrected at once."""
_DECODES_BLAME = 0.3
"""Of an error of a step with prompts, decodes bear less than their part: they are met without prompts, too."""
_SLACK = 2.0
"""Tokens of prompts may take so much longer beside decodes, or in long contexts, than in steps full of them."""
_LEAST_FREE_ROWS = 2
"""Rows cost no more than if reading the weights cost as much as so many: a bound, lest bad luck says that none pays."""
_MOST_SURPRISE = log(1.25)
"""No more of an error counts at once. It doubles while errors of one sign go on: a change is not an outlier."""
_LEAST_S, _MOST_S = 1e-6, 1e3
"""No step takes less, or more."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What steps take, in s: `step + decode · tokens of answers`; with prompts also `start + prefill · tokens`."""

    step: float
    decode: float
    start: float
    """Prompts may be computed by other means than decodes, slower in the small and faster in the large."""
    prefill: float

    def parts(self, decode_tokens: int, prefill_tokens: int) -> tuple[float, float, float, float]:
        """The four terms."""
        start = self.start if prefill_tokens else 0.0
        return self.step, self.decode * decode_tokens, start, self.prefill * prefill_tokens

    def scaled(self, factors: Iterable[float]) -> "StepCost":
        """Each cost times a factor."""
        step, decode, start, prefill = factors
        return StepCost(self.step * step, self.decode * decode, self.start * start, self.prefill * prefill)


_FIRST_GUESS = StepCost(_FIRST_STEP_TOKENS, 1.0, _FIRST_START_TOKENS, 1.0)


class Pace:
    """Bounds the prompt tokens of a step by the time they take, so that answers go on beside them.

    With `decoding` answers going on and `prompts` waiting for their first token, a step may take as long as decodes
    alone, times 1 + 1.5 · max(1, prompts / decoding): where many wait for their first token and few for their next
    one, the many count. Where nobody decodes, prompts take all. A block of them always gets on. If to begin with
    prompts takes long by itself, their tokens may take as long again.

    Costs are learned by a proportionate normalised least-mean-squares filter (Duttweiler, "Proportionate normalized
    least-mean-squares adaptation in echo cancelers", 2000) on the logarithm of the time: each term is corrected by the
    part that it had in the step, so one that had none is left alone, and all stay positive. No clock, no chance.
    """

    def __init__(self, *, least_tokens: int, most_tokens: int) -> None:
        self._least_tokens = least_tokens
        self._most_tokens = most_tokens
        self._cost: StepCost | None = None
        self._num_steps = 0
        self._num_mixed_steps = 0
        self._most_prefill_s = inf
        """What a token of a prompt takes at most, from steps full of them."""
        self._surprises = {False: 0.0, True: 0.0}
        """The bounds that the last errors of steps without and with prompts met, signed; 0 where they met none."""

    def observe(self, *, decode_tokens: int, prefill_tokens: int, elapsed_s: float) -> None:
        """Learn from a step that worked on so many tokens for so long."""
        if decode_tokens + prefill_tokens == 0:
            return
        elapsed_s = max(_LEAST_S, min(elapsed_s, _MOST_S))
        self._num_steps += 1
        self._num_mixed_steps += decode_tokens > 0 and prefill_tokens > 0
        if decode_tokens == 0 and prefill_tokens >= self._most_tokens // 2:
            self._most_prefill_s = _SLACK * elapsed_s / prefill_tokens
        if self._cost is None:
            self._cost = _FIRST_GUESS
        parts = self._cost.parts(decode_tokens, prefill_tokens)
        expected = sum(parts)
        if self._num_steps <= _FIRST_STEPS:
            self._cost = self._cost.scaled([elapsed_s / expected] * 4)
            return
        error = self._credible(log(elapsed_s / expected), has_prompts=prefill_tokens > 0)
        trust = _DECODES_BLAME if prefill_tokens else 1.0
        blame = [part * share for part, share in zip(parts, (trust, trust, 1.0, 1.0), strict=True)]
        gain = _GAIN * error * expected / sum(part * share for part, share in zip(parts, blame, strict=True))
        cost = self._cost.scaled(exp(gain * share) for share in blame)
        self._cost = replace(cost, prefill=min(cost.prefill, self._most_prefill_s))

    def prefill_budget(self, *, decoding: int, prompts: int) -> int:
        """Prompt tokens that the next step may take."""
        if self._cost is None or decoding == 0:
            return self._most_tokens
        allowed_s = (_STRETCH - 1) * max(1.0, prompts / decoding) * self.decode_step_s(decoding)
        allowed_s = max(allowed_s - self._cost.start, self._cost.start)
        tokens = allowed_s / self._cost.prefill
        if self._num_mixed_steps % _PROBE_EVERY == _PROBE_EVERY - 1:
            tokens /= 2
        return int(max(self._least_tokens, min(tokens, self._most_tokens)))

    def decode_step_s(self, decoding: int) -> float:
        """Estimated seconds of a step of so many decodes alone; 0 before the first step."""
        return 0.0 if self._cost is None else sum(self._cost.parts(decoding, 0))

    def decode_row_cost(self, decoding: int) -> float:
        """What one more row adds to a step of so many decodes, at least 1, in units of its time for each of them."""
        cost = self._cost or _FIRST_GUESS
        free_rows = max(cost.step / cost.decode, _LEAST_FREE_ROWS)
        return decoding / (decoding + free_rows)

    @property
    def prefill_tokens_per_s(self) -> float:
        """Estimated prompt tokens a second in steps full of them; 0 before the first step."""
        if self._cost is None:
            return 0.0
        return self._most_tokens / sum(self._cost.parts(0, self._most_tokens))

    def _credible(self, error: float, *, has_prompts: bool) -> float:
        """The error, bounded."""
        last = self._surprises[has_prompts]
        limit = max(_MOST_SURPRISE, 2 * abs(last) if error * last > 0 else 0.0)
        bounded = max(-limit, min(error, limit))
        self._surprises[has_prompts] = bounded if abs(error) > limit else 0.0
        return bounded
