"""The drafts of one sequence: tokens that may come next, as many as are likely to pay."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

from tokenwire.engine.speculation.ngram_index import LONGEST, NgramIndex

_LONGEST_DRAFT = 8
_GRAMMAR = LONGEST + 1
"""Stands among the lengths of matches for drafts that a grammar gave."""
_MEMORY = 0.9
"""What earlier drafts count for when a later one has been checked."""
_FORGETTING = 0.995
"""What they count for after a draft was not tried: so bad luck is not for ever."""


def draft_length(acceptance: float, cost: float) -> int:
    """Tokens to draft where each is right with probability `acceptance` if the one before it is; both in (0, 1).

    The i-th gains acceptance^i tokens, and pays until that falls below `cost`: what a row adds to a step's time, in
    units of what the step spends on a token.
    """
    return min(_LONGEST_DRAFT, int(log(cost) / log(acceptance))) if acceptance >= cost else 0


@dataclass(slots=True)
class _Record:
    """How drafts of one kind have fared."""

    tried: float = 0.0
    accepted: float = 0.0

    @property
    def acceptance(self) -> float:
        """In (0, 1); one half where nothing is known."""
        return (self.accepted + 0.5) / (self.tried + 1)

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
    _records: list[_Record] = field(default_factory=lambda: [_Record() for _ in range(_GRAMMAR + 1)])
    """By length of the match."""
    _kind: int = 0
    """That of the newest draft."""

    def draft(self, token_ids: Sequence[int], expected: Sequence[int], *, cost: float, most: int) -> list[int]:
        """Up to `most` tokens to come after `token_ids`, which only grows from call to call.

        `expected` is what a grammar expects; `cost` is that of a row, as in `draft_length`.
        """
        match = None if expected else self._index.find(token_ids)
        if most < 1 or (match is None and not expected):
            return []
        self._kind = _GRAMMAR if match is None else match.length
        record = self._records[self._kind]
        length = min(most, draft_length(record.acceptance, cost))
        if length == 0:
            record.fade()
            return []
        if match is None:
            return list(expected[:length])
        period = len(token_ids) - match.end  # a draft that reaches the end of the text goes on with itself
        return [token_ids[match.end + i % period] for i in range(length)]

    def note(self, *, drafted: int, accepted: int) -> None:
        """Learn how the newest draft fared."""
        self._records[self._kind].note(drafted, accepted)
