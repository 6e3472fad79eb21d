"""A completion that lives by itself: whoever reads drives it, and where nobody does a task of its own.

One at a time has the driver's seat: it waits for what comes next (the turn, then the engine's outputs) and appends the
events to the log. A reader takes the seat when it has read all and finds it empty. So the answer of a stream with one
reader is made in the task that writes it, and what comes while that task writes is decoded and sent together. When the
last reader is gone, or writes for so long that somebody must look after the engine's outputs, a task takes the seat.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tokenwire.chat.completion import Completion
from tokenwire.chat.live.event_log import EventLog
from tokenwire.engine.protocol import Engine, Generation, GenerationRequest
from tokenwire.errors import (
    CompletionCancelledError,
    EngineFaultError,
    InternalError,
    SlowConsumerError,
    TokenwireError,
)
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, CompletionState, Heartbeat

logger = logging.getLogger("tokenwire.chat")

TICK_S = 1.0
"""How often a reader's patience is looked at."""


class Place(Protocol):
    """The place of a completion in the queue."""

    def await_turn(self, on_turn: Callable[[], None], on_refusal: Callable[[TokenwireError], None]) -> None:
        """Get in line: one of the two is called, perhaps at once, unless the place is given back first."""
        ...

    def release(self) -> None:
        """Give it back. Harmless the second time."""
        ...

    def describe(self, heartbeat: Heartbeat) -> None:
        """Tell the state, and while it waits the position and the estimate."""
        ...


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What a reader gets, and what is asked of it."""

    heartbeat_s: float = 10.0
    """A heartbeat comes when nothing else has for so long."""
    max_unread_bytes: int = 1 << 20
    """Most bytes of events that wait for one reader."""
    max_write_s: float = 60.0
    """Longest time that one event may take to be written."""


@dataclass(slots=True, eq=False)
class _Reader:
    position: int
    last_sequence: int = -1
    since_s: float = 0.0
    """When it began to wait, or to write."""
    is_writing: bool = False
    is_owed_heartbeat: bool = False
    error: SlowConsumerError | None = None
    on_slow: Callable[[], None] = lambda: None


class LiveCompletion:
    """Call `begin()`, then `read()`. It ends once, whatever happens."""

    def __init__(
        self,
        completion: Completion,
        request: GenerationRequest,
        *,
        owner: str,
        engine: Engine,
        place: Place,
        log: EventLog,
        detaches: bool,
        keeps: bool,
        on_end: Callable[["LiveCompletion"], None],
        on_event: Callable[[ChatCompletionEvent], None] | None = None,
        limits: ReaderLimits,
    ) -> None:
        """`owner` is the key of the caller. With `detaches` it goes on without readers; with `keeps` the log is kept
        whole, for readers to come; `on_event` is told each event, `on_end` when it has ended."""
        self._completion = completion
        self._request = request
        self._owner = owner
        self._engine = engine
        self._place = place
        self._generation: Generation | None = None
        self._log = log
        self._detaches = detaches
        self._keeps = keeps
        self._on_event = on_event
        self._on_end = on_end
        self._limits = limits
        self._readers: set[_Reader] = set()
        self._is_driven = False
        self._driver: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.state = CompletionState.COMPLETION_STATE_QUEUED
        self._append(completion.started(resumable=detaches))

    @property
    def id(self) -> str:
        """Unique id, `chatcmpl-…`."""
        return self._completion.id

    @property
    def owner(self) -> str:
        """The key of the caller."""
        return self._owner

    @property
    def completion(self) -> Completion:
        """Its counts and times."""
        return self._completion

    @property
    def log(self) -> EventLog:
        """Its events."""
        return self._log

    def begin(self) -> None:
        """Get in line; the engine is asked when the turn comes."""
        self._place.await_turn(self._generate, lambda error: self.end(CompletionState.COMPLETION_STATE_FAILED, error))

    async def read(
        self, position: int = 0, *, on_slow: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """The events from a position on. Raises the error that the completion ends with.

        `on_slow` is called when the reader is found to be too slow: the next step then raises `SlowConsumerError`, but
        it may be stuck in a write that somebody has to end.
        """
        reader = _Reader(position, on_slow=on_slow, since_s=time.monotonic())
        self._readers.add(reader)
        ticker = self._tick_later(reader)
        try:
            while (event := await self._next(reader)) is not None:
                reader.is_writing, reader.since_s = True, time.monotonic()
                yield event
                reader.is_writing, reader.since_s = False, time.monotonic()
        finally:  # also where the reader went away, at an await (CancelledError) or at a yield (GeneratorExit)
            ticker.cancel()
            self._readers.discard(reader)
            self._changed.set()  # somebody else may have to drive
            if not self._readers and not self._log.has_ended:
                self._left()
            if not self._keeps:
                self.drop_read()

    def forget(self) -> None:
        """No reader will come any more: keep the events for those that are here."""
        self._keeps = False
        self.drop_read()

    def drop_read(self) -> None:
        """Drop the events that all readers have had, or all of them where nobody reads."""
        self._log.drop_until(min((reader.position for reader in self._readers), default=self._log.end))

    def cancel(self) -> None:
        """End it, for its caller wants that. Harmless once it has ended."""
        self.end(CompletionState.COMPLETION_STATE_CANCELLED, CompletionCancelledError(self.id))

    def end(self, state: CompletionState.ValueType, error: TokenwireError | None = None) -> None:
        """End it, free all that it holds, and let the readers know. Only the first call counts."""
        if self._log.has_ended:
            return
        self.state = state
        self._log.finish(error)
        if self._generation is not None:
            self._generation.abort()
        self._place.release()
        self._changed.set()
        self._on_end(self)

    async def _next(self, reader: _Reader) -> ChatCompletionEvent | None:
        """The next event for a reader; None at the end."""
        while True:
            if reader.error is not None:
                raise reader.error
            if (found := self._log.next(reader.position)) is not None:
                event, reader.position = found
                reader.last_sequence = event.sequence
                if not self._keeps:
                    self.drop_read()
                return event
            if self._log.has_ended:
                if self._log.error is not None:
                    raise self._log.error
                return None
            if reader.is_owed_heartbeat:
                reader.is_owed_heartbeat = False
                return self._heartbeat(reader)
            await self._wait()

    async def _wait(self) -> None:
        """Wait until something has changed: by driving, if nobody does."""
        if self._is_driven or self._generation is None:
            self._changed.clear()
            await self._changed.wait()
            return
        self._is_driven = True
        try:
            await self._advance(self._generation)
        finally:
            self._is_driven = False
            self._changed.set()

    def _generate(self) -> None:
        """Its turn has come."""
        with self._ending_on_errors():
            self._completion.timeline.submitted()
            self._generation = self._engine.generate(self._request)
            self.state = CompletionState.COMPLETION_STATE_RUNNING
        self._changed.set()

    async def _advance(self, generation: Generation) -> None:
        """Wait for outputs, and append their events."""
        with self._ending_on_errors():
            outputs = await generation.receive()
            if not outputs or self._log.has_ended:
                return
            for event in self._completion.events(outputs, abort=generation.abort):
                self._append(event)
            if self._completion.done:
                self._append(self._completion.completed())
                self.end(CompletionState.COMPLETION_STATE_COMPLETED)

    @contextmanager
    def _ending_on_errors(self) -> Iterator[None]:
        """Its readers are told of errors, each of them."""
        try:
            yield
        except EngineFaultError as error:
            self.end(CompletionState.COMPLETION_STATE_FAILED, EngineFaultError(str(error), completion_id=self.id))
        except TokenwireError as error:
            self.end(CompletionState.COMPLETION_STATE_FAILED, error)
        except Exception:  # a defect: the readers are told, and everything is freed
            logger.exception("defect in %s", self.id)
            self.end(CompletionState.COMPLETION_STATE_FAILED, InternalError())

    def _append(self, event: ChatCompletionEvent) -> None:
        self._log.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _left(self) -> None:
        """The last reader has gone before the end."""
        if self._detaches:
            self._drive_alone()
        else:
            self.end(CompletionState.COMPLETION_STATE_CANCELLED, CompletionCancelledError(self.id))

    def _drive_alone(self) -> None:
        """Let a task drive to the end, unless one does."""
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())

    async def _drive(self) -> None:
        while not self._log.has_ended:
            await self._wait()

    def _heartbeat(self, reader: _Reader) -> ChatCompletionEvent:
        event = ChatCompletionEvent(sequence=max(reader.last_sequence, 0))
        event.heartbeat.state = self.state
        self._place.describe(event.heartbeat)
        return event

    def _tick_later(self, reader: _Reader) -> "_Ticker":
        return _Ticker(lambda: self._tick(reader))

    def _tick(self, reader: _Reader) -> None:
        """Look after a reader that has been writing, or waiting, for long."""
        elapsed_s = time.monotonic() - reader.since_s
        if reader.is_writing:
            unread_bytes = self._log.bytes_after(reader.position)
            if elapsed_s > self._limits.max_write_s or unread_bytes > self._limits.max_unread_bytes:
                self._give_up(reader, f"{unread_bytes} bytes wait, and the last write began {elapsed_s:.0f} s ago")
            elif elapsed_s >= TICK_S:
                self._drive_alone()
        elif elapsed_s >= self._limits.heartbeat_s:
            reader.is_owed_heartbeat, reader.since_s = True, time.monotonic()
            self.wake()

    def _give_up(self, reader: _Reader, why: str) -> None:
        if reader.error is None:
            reader.error = SlowConsumerError(
                f"the reader of the stream is too slow: {why}; at most {self._limits.max_unread_bytes} bytes and "
                f"{self._limits.max_write_s:.0f} s are allowed",
                completion_id=self.id,
                last_sequence=reader.last_sequence,
            )
            reader.on_slow()

    def wake(self) -> None:
        """Let all that wait look again."""
        self._changed.set()
        if self._generation is not None:
            self._generation.wake()


class _Ticker:
    """Calls a function every `TICK_S`."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(TICK_S, self._tick)

    def cancel(self) -> None:
        """No more calls."""
        self._handle.cancel()

    def _tick(self) -> None:
        self._handle = self._loop.call_later(TICK_S, self._tick)
        self._function()
