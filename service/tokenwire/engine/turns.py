"""Readers take turns where the event loop cannot keep up with all of them.

A message costs far more than the tokens in it. So a reader that waits a little has more tokens in its message, and the
loop has time for what else there is: calls that begin, above all. Nobody waits where the loop keeps up.
"""

import asyncio
from collections import deque

MOST_AT_ONCE = 32
"""Readers that go on in one turn of the event loop, about 5 ms of work."""

LONGEST_PAUSE_S = 0.05


class Turns:
    """Lets a few readers go on in each turn of the event loop, and others in line behind them, first come first served.

    While somebody is in line, the loop is left to others for as long as the last readers took: readers take half of it.
    """

    def __init__(self) -> None:
        self._num_left = MOST_AT_ONCE
        self._line: deque[asyncio.Future[None]] = deque()
        self._began_s: float | None = None  # None: nobody has gone on since the loop kept up

    async def take(self, *, is_first: bool) -> None:
        """Wait for a turn. One who has never had one (`is_first`) goes to the head of the line."""
        if self._num_left > 0:
            self._go_on()
            return
        turn = asyncio.get_running_loop().create_future()
        if is_first:
            self._line.appendleft(turn)
        else:
            self._line.append(turn)
        await turn

    def _go_on(self) -> None:
        self._num_left -= 1
        if self._began_s is None:
            loop = asyncio.get_running_loop()
            self._began_s = loop.time()
            loop.call_soon(self._pause)

    def _pause(self) -> None:
        """Those who had a turn have used it."""
        assert self._began_s is not None
        if not self._line:
            self._open()
            return
        loop = asyncio.get_running_loop()
        loop.call_later(min(loop.time() - self._began_s, LONGEST_PAUSE_S), self._open)

    def _open(self) -> None:
        self._began_s = None
        self._num_left = MOST_AT_ONCE
        while self._line and self._num_left > 0:
            turn = self._line.popleft()
            if not turn.done():  # else its reader has gone
                turn.set_result(None)
                self._go_on()
