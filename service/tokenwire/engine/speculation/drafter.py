"""The drafts of one sequence: tokens that may come next, as many as are likely to pay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

from tokenwire.engine.speculation.ngram_index import NgramIndex

_LONGEST_DRAFT = 8
_CHECKING = 0.15
"""What a drafted token costs beside its row, in the unit of `draft_length`: positions are sampled one after the other,
and a refused one was for nothing."""
_PRIOR_TRIES = 2
"""What the first guess at an acceptance counts for."""
_MEMORY = 0.9
"""What earlier drafts count for when a later one has been checked."""
_FORGETTING = 0.995
"""What they count for after a draft was not tried: so bad luck is not for ever."""


def draft_length(acceptance: float, cost: float) -> int:
    """Tokens to draft where each is right with probability `acceptance` if the one before it is; both in (0, 1).

    The i-th gains acceptance^i tokens, and pays until that falls below `cost`, in units of what a step spends on a
    token.
    """
    return min(_LONGEST_DRAFT, int(log(cost) / log(acceptance))) if acceptance >= cost else 0


@dataclass(slots=True)
class _Record:
    """How drafts of one kind have fared."""

    prior: float
    """First guess at the acceptance."""
    tried: float = 0.0
    accepted: float = 0.0

    @property
    def acceptance(self) -> float:
        """In (0, 1)."""
        return (self.accepted + self.prior * _PRIOR_TRIES) / (self.tried + _PRIOR_TRIES)

    def note(self, drafted: int, accepted: int) -> None:
        """Of the drafted tokens, those behind the first refused one were not tried."""
        self.tried = self.tried * _MEMORY + min(accepted + 1, drafted)
        self.accepted = self.accepted * _MEMORY + accepted

    def fade(self) -> None:
        self.tried *= _FORGETTING
        self.accepted *= _FORGETTING


@dataclass(slots=True)
class Drafter:
    """Drafts from what a grammar forces and from the sequence's own text, and learns which kinds come true."""

    _index: NgramIndex = field(default_factory=NgramIndex)
    _pairs: _Record = field(default_factory=lambda: _Record(prior=0.4))
    """Of matches of two tokens."""
    _longer: _Record = field(default_factory=lambda: _Record(prior=0.75))
    _grammar: _Record = field(default_factory=lambda: _Record(prior=0.75))
    _newest: _Record | None = None
    """Where the newest draft is noted."""

    def draft(self, token_ids: Sequence[int], expected: Sequence[int], *, cost: float, most: int) -> list[int]:
        """Up to `most` tokens to come after `token_ids`, which only grows from call to call.

        `expected` is what a grammar expects; `cost` is what a row adds to a step's time, in the unit of `draft_length`.
        """
        match = None if expected else self._index.find(token_ids)
        if most < 1 or (match is None and not expected):
            return []
        if match is None:
            self._newest = self._grammar
        else:
            self._newest = self._pairs if match.length == 2 else self._longer
        length = min(most, draft_length(self._newest.acceptance, cost + _CHECKING))
        if length == 0:
            self._newest.fade()
            return []
        if match is None:
            return list(expected[:length])
        period = len(token_ids) - match.end  # a draft that reaches the end of the text goes on with itself
        return [token_ids[match.end + i % period] for i in range(length)]

    def note(self, *, drafted: int, accepted: int) -> None:
        """Learn how the newest draft fared."""
        if self._newest is not None:
            self._newest.note(drafted, accepted)
