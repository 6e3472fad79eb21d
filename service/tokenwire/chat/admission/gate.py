"""The queue and those who wait in it: each has a ticket, and is called when its turn comes."""

import asyncio
import time
from collections.abc import Callable

from tokenwire.chat.admission.place import Demand, Place, Progress, Stage
from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.engine.protocol import EngineLoad
from tokenwire.errors import QueueTimeoutError, TokenwireError
from tokenwire.v1.chat_pb2 import Heartbeat


class Gate:
    """Lets requests through to the engine when it is their turn."""

    def __init__(self, queue: Queue, *, load: Callable[[], EngineLoad]) -> None:
        """`load` gives the engine's newest figures."""
        self.queue = queue
        self._load = load
        self._waiting: dict[Place, Ticket] = {}
        self._is_advancing = False

    def reserve(self, tenant: Tenant, num_choices: int) -> "Ticket":
        """A ticket for a request, before any work is done for it. Raises `QueueFullError`."""
        return Ticket(self, self.queue.reserve(tenant, num_choices, load=self._load()))

    def enter(self, ticket: "Ticket", demand: Demand) -> None:
        """Put a request in line. Raises as `Queue.enter`."""
        self.queue.enter(ticket.place, demand, load=self._load(), now=time.monotonic())
        self._waiting[ticket.place] = ticket

    def advance(self) -> None:
        """Call those whose turn it is."""
        if self._is_advancing:  # one that was called has ended at once: the loop below goes on with the next
            return
        self._is_advancing = True
        try:
            while self._waiting and (place := self.queue.next(self._load())) is not None:
                self._waiting.pop(place).call()
        finally:
            self._is_advancing = False

    def release(self, place: Place) -> None:
        """Take back all that a request holds."""
        self._waiting.pop(place, None)
        self.queue.release(place)
        self.advance()

    def wait_s(self, place: Place | None = None) -> float | None:
        """As `Queue.wait_s`."""
        return self.queue.wait_s(place, load=self._load())

    @property
    def retry_after_s(self) -> float:
        """When one who was refused may come again."""
        return self.queue.retry_after_s(load=self._load())


class Ticket:
    """One request's way through the gate: `enter`, `await_turn`, `note` and, whatever happens, `release`."""

    __slots__ = ("_begin_by_s", "_gate", "_on_turn", "_timer", "place")

    def __init__(self, gate: Gate, place: Place) -> None:
        self.place = place
        self._gate = gate
        self._on_turn: Callable[[], None] = lambda: None
        self._begin_by_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, demand: Demand, *, begin_by_s: float | None = None) -> None:
        """Join the queue, to wait until `begin_by_s` on the monotonic clock at the longest.

        Raises `QueueFullError`, or `DeadlineUnattainableError` where it would begin too late.
        """
        self._gate.enter(self, demand)
        self._begin_by_s = begin_by_s

    def await_turn(self, on_turn: Callable[[], None], on_refusal: Callable[[TokenwireError], None]) -> None:
        """Wait: `on_turn` is called, perhaps at once, or `on_refusal` with `QueueTimeoutError` if that takes too long;
        neither once it is released."""
        self._on_turn = on_turn
        self._gate.advance()
        if self._begin_by_s is not None and self.place.stage is Stage.WAITING:
            loop, left_s = asyncio.get_running_loop(), max(0.0, self._begin_by_s - time.monotonic())
            self._timer = loop.call_later(left_s, self._time_out, on_refusal)

    def call(self) -> None:
        """It is its turn."""
        self._stop_timer()
        self._on_turn()

    def note(self, progress: Progress) -> None:
        """Its completion has come so far; others may begin where choices have ended."""
        self._gate.queue.note(self.place, progress)
        self._gate.advance()

    def release(self) -> None:
        """Give back all that it holds. Harmless the second time."""
        self._stop_timer()
        self._gate.release(self.place)

    def describe(self, heartbeat: Heartbeat) -> None:
        """While it waits, tell the position and the estimate."""
        if self.place.stage is not Stage.WAITING:
            return
        heartbeat.queue_position = self._gate.queue.position(self.place)
        if (wait_s := self._gate.wait_s(self.place)) is not None:
            heartbeat.estimated_wait.FromMilliseconds(round(wait_s * 1000))

    def _time_out(self, on_refusal: Callable[[TokenwireError], None]) -> None:
        on_refusal(
            QueueTimeoutError(
                "`max_queue_time` was over before the generation began", retry_after_s=self._gate.retry_after_s
            )
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
