"""One reader of a live completion: where it is, and how long it makes others wait, or is made to wait."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from tokenwire.errors import SlowConsumerError


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What a reader gets, and what is asked of it."""

    heartbeat_s: float = 10.0
    """A heartbeat comes when nothing else has for so long."""
    max_unread_bytes: int = 4 << 20
    """Most bytes of events that wait for one reader, beside those that were there when it came."""
    max_write_s: float = 60.0
    """Longest time that one event may take to be written."""

    @property
    def look_s(self) -> float:
        """How often a reader is looked at."""
        return min(1.0, self.heartbeat_s, self.max_write_s)


OnSlow = Callable[[SlowConsumerError], object]
"""Called when a reader is found to be too slow. It may be stuck in a write, which only its transport can end."""


class Reader:
    """A reader, as the completion sees it."""

    __slots__ = (
        "_caught_up_s",
        "_on_slow",
        "_since_s",
        "backlog_bytes",
        "error",
        "is_owed_heartbeat",
        "is_writing",
        "last_sequence",
        "position",
    )

    def __init__(self, position: int, *, last_sequence: int, backlog_bytes: int, on_slow: OnSlow) -> None:
        """It reads from a position of the log on, where so many bytes wait for it, and has had the event before it."""
        self.position = position
        self.last_sequence = last_sequence
        self.backlog_bytes = backlog_bytes
        self.is_writing = False
        """Whether it is busy with an event, else it waits for one."""
        self.is_owed_heartbeat = False
        self.error: SlowConsumerError | None = None
        """What it is told as soon as it asks for the next event."""
        self._since_s = self._caught_up_s = time.monotonic()
        self._on_slow = on_slow

    @property
    def seconds(self) -> float:
        """How long it has been writing, or waiting."""
        return time.monotonic() - self._since_s

    @property
    def seconds_behind(self) -> float:
        """How long ago it had read all there was."""
        return time.monotonic() - self._caught_up_s

    def catch_up(self) -> None:
        """It has read all there is."""
        self._caught_up_s = time.monotonic()

    def write(self) -> None:
        """It writes an event from now on."""
        self.is_writing, self._since_s = True, time.monotonic()

    def wait(self) -> None:
        """It waits for an event from now on."""
        self.is_writing, self._since_s = False, time.monotonic()

    def owe_heartbeat(self) -> None:
        """It gets a heartbeat when nothing else is there for it."""
        self.is_owed_heartbeat, self._since_s = True, time.monotonic()

    def give_up(self, error: SlowConsumerError) -> None:
        """It is too slow. Only the first call counts."""
        if self.error is None:
            self.error = error
            self._on_slow(error)


class Ticker:
    """Calls a function again and again, until it is cancelled."""

    def __init__(self, function: Callable[[], None], *, every_s: float) -> None:
        self._function = function
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(every_s, self._tick)

    def cancel(self) -> None:
        """No more calls."""
        self._handle.cancel()

    def _tick(self) -> None:
        self._handle = self._loop.call_later(self._every_s, self._tick)
        self._function()
