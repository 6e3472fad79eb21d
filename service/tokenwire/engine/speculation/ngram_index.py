"""Where the newest tokens of a text have stood before in it."""

from collections.abc import Sequence
from dataclasses import dataclass

SIGHT = 8
"""Earlier places that are compared, the newest first."""
LONGEST = 8
"""Tokens that are compared at each."""
_TOKEN_BITS = 32


@dataclass(frozen=True, slots=True)
class Match:
    """An earlier place whose tokens are the newest ones of the text."""

    end: int
    """Position behind it: what stood there may come next."""
    length: int
    """Equal tokens, from 2 to `LONGEST`."""


class NgramIndex:
    """Finds, for a text that only grows, the earlier place that is most like its end.

    The places of a pair of tokens are chained, the newest first, so a token costs a dictionary entry and two integers,
    and a search looks at no more than `SIGHT` places. Prompt lookup decoding (Saxena 2023,
    https://github.com/apoorvumang/prompt-lookup-decoding), with the longest match instead of fixed lengths.
    """

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}
        self._earlier = [0, 0]
        """By end of a pair that another token follows: the end of the same pair before it, 0 for none."""

    def find(self, token_ids: Sequence[int]) -> Match | None:
        """The longest match for the end of a text, the newest among equals; None if its last pair is new.

        `token_ids` is that of the calls before, or more.
        """
        if len(token_ids) < 2:
            return None
        self._extend(token_ids)
        best: Match | None = None
        end = self._newest.get(_pair(token_ids, len(token_ids)), 0)
        for _ in range(SIGHT):
            if end == 0:
                break
            length = _common_length(token_ids, end)
            if best is None or length > best.length:
                best = Match(end, length)
            if length == LONGEST:
                break
            end = self._earlier[end]
        return best

    def _extend(self, token_ids: Sequence[int]) -> None:
        newest, earlier = self._newest, self._earlier
        for end in range(len(earlier), len(token_ids)):
            pair = _pair(token_ids, end)
            earlier.append(newest.get(pair, 0))
            newest[pair] = end


def _pair(token_ids: Sequence[int], end: int) -> int:
    """The two tokens before a position, as one number."""
    return token_ids[end - 2] << _TOKEN_BITS | token_ids[end - 1]


def _common_length(token_ids: Sequence[int], end: int) -> int:
    """Equal tokens before `end` and before the end of the text; those of the last pair are equal."""
    length = 2
    while length < min(LONGEST, end) and token_ids[end - 1 - length] == token_ids[-1 - length]:
        length += 1
    return length
