"""How many prompt tokens a step may take beside decodes, learned from how long steps take. Imports no torch."""

from dataclasses import dataclass
from math import exp, log

_STRETCH = 2.5
"""A step that decodes may last so many times as long as without prompts. These then have 60 % of the time, and gaps
stay within three times the usual one even where the estimate is a fifth too low."""
_PROBE_EVERY = 8
"""One budget of so many is halved. If all were the same, nothing would tell what prompts cost from what decodes do."""
_FIRST_STEP_TOKENS = 32
"""First guess: the fixed cost of a step, in tokens' worth."""
_FIRST_STEPS = 4
"""So many set the scale of all costs together: the very first one may have compiled something."""
_GAIN = 0.5
"""Share of an error that is corrected at once."""
_DECODES_BLAME = 0.3
"""Of an error of a step with prompts, decodes bear less than their part: they are met without prompts, too."""
_LEAST_FREE_ROWS = 2
"""Rows cost no more than if reading the weights cost as much as so many: a bound, lest bad luck says that none pays."""
_MOST_SURPRISE = log(1.25)
"""No more of an error counts at once. It doubles while errors of one sign go on: a change is not an outlier."""

_LEAST_S, _MOST_S = 1e-6, 1e3
"""No step takes less, or more."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What steps cost, in seconds: `step + decode · tokens of answers + prefill · tokens of prompts`."""

    step: float
    decode: float
    prefill: float

    def parts(self, decode_tokens: int, prefill_tokens: int) -> tuple[float, float, float]:
        """The three terms."""
        return self.step, self.decode * decode_tokens, self.prefill * prefill_tokens

    def scaled(self, step: float, decode: float, prefill: float) -> "StepCost":
        """Each cost times a factor."""
        return StepCost(self.step * step, self.decode * decode, self.prefill * prefill)


class Pace:
    """Bounds the prompt tokens of a step by the time they take, so that answers go on beside them.

    With `decoding` answers going on and `prompts` waiting for their first token, a step may take as long as decodes
    alone, times 1 + 1.5 · max(1, prompts / decoding): where many wait for their first token and few for their next
    one, the many count. Where nobody decodes, prompts take all. A block of them always gets on.

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
        self._surprises = {False: 0.0, True: 0.0}
        """The bounds that the last errors of steps without and with prompts met, signed; 0 where they met none."""

    def observe(self, *, decode_tokens: int, prefill_tokens: int, elapsed_s: float) -> None:
        """Learn from a step that worked on so many tokens for so long."""
        if decode_tokens + prefill_tokens == 0:
            return
        elapsed_s = max(_LEAST_S, min(elapsed_s, _MOST_S))
        self._num_steps += 1
        self._num_mixed_steps += decode_tokens > 0 and prefill_tokens > 0
        if self._cost is None:
            self._cost = StepCost(_FIRST_STEP_TOKENS, 1.0, 1.0)
        parts = self._cost.parts(decode_tokens, prefill_tokens)
        expected = sum(parts)
        if self._num_steps <= _FIRST_STEPS:
            self._cost = self._cost.scaled(*[elapsed_s / expected] * 3)
            return
        error = self._credible(log(elapsed_s / expected), has_prompts=prefill_tokens > 0)
        blame = _DECODES_BLAME if prefill_tokens else 1.0
        step, decode, prefill = parts[0] * blame, parts[1] * blame, parts[2]
        gain = _GAIN * error * expected / (step * parts[0] + decode * parts[1] + prefill * parts[2])
        self._cost = self._cost.scaled(exp(gain * step), exp(gain * decode), exp(gain * prefill))

    def prefill_budget(self, *, decoding: int, prompts: int) -> int:
        """Prompt tokens that the next step may take."""
        if self._cost is None or decoding == 0:
            return self._most_tokens
        stretch = (_STRETCH - 1) * max(1.0, prompts / decoding)
        if self._num_mixed_steps % _PROBE_EVERY == _PROBE_EVERY - 1:
            stretch /= 2
        tokens = stretch * self.decode_step_s(decoding) / self._cost.prefill
        return int(max(self._least_tokens, min(tokens, self._most_tokens)))

    def decode_step_s(self, decoding: int) -> float:
        """Estimated seconds of a step of so many decodes alone; 0 before the first step."""
        return 0.0 if self._cost is None else sum(self._cost.parts(decoding, 0))

    def decode_row_cost(self, decoding: int) -> float:
        """What one more row adds to a step of so many decodes, at least 1, in units of its time for each of them."""
        cost = self._cost or StepCost(_FIRST_STEP_TOKENS, 1.0, 1.0)
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
