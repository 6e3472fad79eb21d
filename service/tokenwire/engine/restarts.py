"""When an engine that died is started again, and when that is given up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPolicy:
    """How patient the supervisor of an engine is. Times in seconds."""

    watchdog_s: float = 60.0
    """An engine that has work and says nothing for so long, and four times as long as its longest step may take by its
    own estimate, is killed; 0: never."""
    crash_loop_deaths: int = 5
    """So many deaths without a token in between are a crash loop."""
    first_pause_s: float = 1.0
    """Between the second death in a row and the next start; there is none after the first. It doubles."""
    longest_pause_s: float = 30.0
    least_start_s: float = 60.0
    """A restart may take so long, or ten times as long as the first start."""


class Restarts:
    """Counts deaths without progress."""

    def __init__(self, policy: FaultPolicy) -> None:
        self._policy = policy
        self._deaths = 0

    def note_death(self) -> None:
        """The engine process died, or did not become ready."""
        self._deaths += 1

    def note_progress(self) -> None:
        """It gave something."""
        self._deaths = 0

    @property
    def is_crash_loop(self) -> bool:
        """Whether it is of no use to let requests wait."""
        return self._deaths >= self._policy.crash_loop_deaths

    @property
    def pause_s(self) -> float:
        """Seconds until the next start."""
        policy = self._policy
        if self.is_crash_loop:
            return policy.longest_pause_s
        if self._deaths < 2:
            return 0.0
        return min(policy.first_pause_s * 2.0 ** (self._deaths - 2), policy.longest_pause_s)
