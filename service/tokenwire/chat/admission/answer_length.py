"""How long answers will be, by how long they were."""

from math import exp

_FIRST_GUESS = 256.0
_MEMORY = 1 - 1 / 64
"""What weight an answer still has when the next one is known."""


class AnswerLength:
    """The mean length of answers, in tokens, newer ones counting more.

    An answer that was cut says only that it would have been longer. So the mean is that of an exponential distribution
    with censoring: tokens over ends that came by themselves.
    """

    def __init__(self) -> None:
        self._tokens = _FIRST_GUESS
        self._ends = 1.0

    def observe(self, *, tokens: int, ends: int) -> None:
        """A completion has ended with so many tokens; so many of its choices ended by themselves."""
        self._tokens = self._tokens * _MEMORY + tokens
        self._ends = self._ends * _MEMORY + ends

    @property
    def mean(self) -> float:
        """Of answers without a bound."""
        return self._tokens / max(self._ends, 1e-9)

    def expected(self, most: float) -> float:
        """Of an answer of at most so many tokens; at least 1."""
        return max(1.0, self.mean * (1 - exp(-most / self.mean)))
