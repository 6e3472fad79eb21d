"""Stop strings: finds them in text that arrives piece by piece, and holds back no more than may still become one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class GrowingText(Protocol):
    """A text that may end in some places only."""

    def push(self, text: str) -> None:
        """The text grows by this."""
        ...

    def is_complete_with(self, text: str) -> bool:
        """Whether the text may end after this, were it to grow by this."""
        ...


@dataclass(frozen=True, slots=True)
class StopResult:
    """What one piece of text leads to."""

    text: str
    """Text that no stop string can reach any more; ends right before the match if there is one."""
    match: str | None = None


class StopMatcher:
    """Looks for stop strings in one text.

    The match is the one that is complete first; of several that end at the same place, the longest. So the result does
    not depend on how the text was cut into pieces. Nothing may be pushed after a match.
    """

    def __init__(self, stops: Sequence[str], *, followed: GrowingText | None = None) -> None:
        """`followed`, empty so far, says where the text may end; a match that would end it elsewhere is text."""
        self._stops = tuple(stops)
        self._followed = followed
        self._held = ""

    @property
    def num_held(self) -> int:
        """Number of characters that are held back."""
        return len(self._held)

    def skip(self, text: str) -> None:
        """Take the text's beginning, which is not searched."""
        if self._followed is not None:
            self._followed.push(text)

    def push(self, text: str) -> StopResult:
        """Take the next piece of the text."""
        num_searched = len(self._held)
        text = self._held + text
        for start, stop in self._matches(text, num_searched):
            if self._followed is None or self._followed.is_complete_with(text[:start]):
                self._held = ""
                return StopResult(text[:start], stop)
        cut = len(text) - unfinished_suffix(text, self._stops)
        self._held = text[cut:]
        self.skip(text[:cut])
        return StopResult(text[:cut])

    def flush(self) -> str:
        """The text has ended: give what is still held back."""
        text, self._held = self._held, ""
        return text

    def _matches(self, text: str, num_searched: int) -> list[tuple[int, str]]:
        """(start, stop string) of each match that ends behind what was searched before, in order of their ends."""
        found = [(start, stop) for stop in self._stops for start in _find_all(stop, text, num_searched - len(stop) + 1)]
        return sorted(found, key=lambda match: (match[0] + len(match[1]), match[0]))


def unfinished_suffix(text: str, targets: Sequence[str]) -> int:
    """Length of the longest suffix of a text that is the beginning of a target, but not all of it."""
    return max((_unfinished(text, target) for target in targets), default=0)


def _unfinished(text: str, target: str) -> int:
    start = text.find(target[0], max(0, len(text) - len(target) + 1))
    while start >= 0 and not target.startswith(text[start:]):
        start = text.find(target[0], start + 1)
    return len(text) - start if start >= 0 else 0


def _find_all(target: str, text: str, start: int) -> Iterator[int]:
    """Where a target stands in a text from `start` on; occurrences may overlap."""
    start = text.find(target, max(0, start))
    while start >= 0:
        yield start
        start = text.find(target, start + 1)
