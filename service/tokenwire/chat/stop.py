"""Stop strings: finds them in text that arrives piece by piece, and holds back no more than may still become one."""

from collections.abc import Sequence
from dataclasses import dataclass


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

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""

    def push(self, text: str) -> StopResult:
        """Take the next piece of the text."""
        text = self._held + text
        if found := self._first_match(text):
            start, stop = found
            self._held = ""
            return StopResult(text[:start], stop)
        cut = len(text) - self._unsafe_suffix(text)
        self._held = text[cut:]
        return StopResult(text[:cut])

    def flush(self) -> str:
        """The text has ended: give what is still held back."""
        text, self._held = self._held, ""
        return text

    def _first_match(self, text: str) -> tuple[int, str] | None:
        """(start, stop string) of the match that is complete first."""
        found = ((start, stop) for stop in self._stops if (start := text.find(stop)) >= 0)
        return min(found, key=lambda match: (match[0] + len(match[1]), match[0]), default=None)

    def _unsafe_suffix(self, text: str) -> int:
        """Length of the longest suffix that is the beginning of a stop string."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stops):
                return len(text) - start
        return 0
