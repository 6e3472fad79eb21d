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
from typing import Protocol

from tokenwire.chat.admission.place import Progress
from tokenwire.chat.completion import Completion
from tokenwire.chat.live.event_log import EventLog
from tokenwire.chat.live.reader import OnSlow, Reader, ReaderLimits, Ticker
from tokenwire.engine.protocol import Engine, EngineState, Generation, GenerationRequest
from tokenwire.errors import (
    CompletionCancelledError,
    EngineFaultError,
    InternalError,
    SlowConsumerError,
    TokenwireError,
)
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, CompletionState, Heartbeat

logger = logging.getLogger("tokenwire.chat")


class Place(Protocol):
    """The place of a completion in the queue."""

    def await_turn(self, on_turn: Callable[[], None], on_refusal: Callable[[TokenwireError], None]) -> None:
        """Get in line: one of the two is called, perhaps at once, unless the place is given back first."""
        ...

    def note(self, progress: Progress) -> None:
        """The completion has come so far: where choices have ended others may begin."""
        ...

    def release(self) -> None:
        """Give it back. Harmless the second time."""
        ...

    def describe(self, heartbeat: Heartbeat) -> None:
        """Tell, while it waits, the position and the estimate."""
        ...


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
        on_heartbeat: Callable[[Heartbeat], None] = lambda heartbeat: None,
        limits: ReaderLimits,
        time_limit_s: float | None = None,
    ) -> None:
        """`owner` is the key of the caller. With `detaches` it goes on without readers; with `keeps` the log is kept
        whole, for readers to come; `on_event` is told each event, `on_end` when it has ended; `on_heartbeat` adds to
        heartbeats. At `time_limit_s`, on the monotonic clock, choices that have not finished are cut."""
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
        self._on_heartbeat = on_heartbeat
        self._limits = limits
        self._readers: set[Reader] = set()
        self._awaits_reader = True
        """The first reader is still to come."""
        self._is_driven = False
        self._driver: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._time_limit_s = time_limit_s
        self._timer: asyncio.TimerHandle | None = None
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
        if self._time_limit_s is not None:
            left_s = max(0.0, self._time_limit_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(left_s, self._cut)
        self._place.await_turn(self._generate, lambda error: self.end(CompletionState.COMPLETION_STATE_FAILED, error))

    async def read(
        self, after_sequence: int = -1, *, on_slow: OnSlow = lambda error: None
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """The events after a sequence; -1: all. Raises the error that the completion ends with, and as
        `EventLog.position_after`.

        `on_slow` is called when the reader is found to be too slow: the next step then raises the same error, but the
        reader may be stuck in a write that somebody has to end.
        """
        position = self._log.position_after(after_sequence)
        reader = Reader(
            position,
            last_sequence=max(after_sequence, 0),
            backlog_bytes=self._log.bytes_after(position),
            on_slow=on_slow,
        )
        self._readers.add(reader)
        self._awaits_reader = False
        ticker = Ticker(lambda: self._look_after(reader), every_s=self._limits.look_s)
        try:
            while (event := await self._next(reader)) is not None:
                reader.write()
                yield event
                reader.wait()
        finally:  # also where the reader went away, at an await (CancelledError) or at a yield (GeneratorExit)
            ticker.cancel()
            self._readers.discard(reader)
            self._changed.set()  # somebody else may have to drive
            if not self._readers and not self._log.has_ended:
                self._left(reader)
            if not self._keeps:
                self.drop_read()

    def forget(self) -> None:
        """No reader will come any more: keep the events for those that are here."""
        self._keeps = self._awaits_reader = False
        self.drop_read()

    def drop_read(self) -> None:
        """Drop the events that all readers have had, or all of them where nobody reads any more."""
        if self._awaits_reader:
            return
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
        if self._timer is not None:
            self._timer.cancel()
        generation, self._generation = self._generation, None  # it has every token, and is not to be retained
        if generation is not None:
            self._completion.waste(generation.abort())
        self._place.release()
        self._changed.set()
        self._on_end(self)

    def beat(self) -> None:
        """Send a heartbeat to each reader, now."""
        for reader in self._readers:
            reader.owe_heartbeat()
        self._wake()

    async def _next(self, reader: Reader) -> ChatCompletionEvent | None:
        """The next event for a reader; None at the end."""
        while True:
            if reader.error is not None:
                raise reader.error
            if reader.is_owed_heartbeat and reader.position and not self._log.has_ended:
                reader.is_owed_heartbeat = False
                return self._heartbeat(reader)
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
            await self._wait()
            reader.catch_up()

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
            for event in self._completion.events(outputs, abort=self._abort_choice):
                self._append(event)
            self._place.note(self._completion.progress)
            if self._completion.done:
                self._complete()

    def _abort_choice(self, index: int) -> None:
        assert self._generation is not None
        self._completion.waste(self._generation.abort(index))

    def _cut(self) -> None:
        """Its time is over: the choices end with what they have."""
        with self._ending_on_errors():
            if self._generation is not None:
                self._completion.waste(self._generation.abort())
            for event in self._completion.cut():
                self._append(event)
            self._complete()

    def _complete(self) -> None:
        self._append(self._completion.completed())
        self.end(CompletionState.COMPLETION_STATE_COMPLETED)

    @contextmanager
    def _ending_on_errors(self) -> Iterator[None]:
        """Its readers are told of errors, each of them."""
        try:
            yield
        except EngineFaultError as error:
            num_tokens = self._completion.usage.completion_tokens
            told = EngineFaultError(str(error), completion_id=self.id, tokens_emitted=num_tokens)
            self.end(CompletionState.COMPLETION_STATE_FAILED, told)
        except TokenwireError as error:
            self.end(CompletionState.COMPLETION_STATE_FAILED, error)
        except Exception:  # a defect: the readers are told, and everything is freed
            logger.exception("defect in %s", self.id)
            self.end(CompletionState.COMPLETION_STATE_FAILED, InternalError())

    def _append(self, event: ChatCompletionEvent) -> None:
        self._log.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def _left(self, reader: Reader) -> None:
        """The last reader has gone before the end."""
        if self._detaches:
            self._drive_alone()
        elif reader.error is not None:
            self.end(CompletionState.COMPLETION_STATE_FAILED, reader.error)
        else:
            self.cancel()

    def _drive_alone(self) -> None:
        """Let a task drive to the end, unless one does."""
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())

    async def _drive(self) -> None:
        while not self._log.has_ended:
            await self._wait()
            if self._log.num_bytes > self._limits.max_unread_bytes:
                for reader in tuple(self._readers):
                    self._look_after(reader)

    def _heartbeat(self, reader: Reader) -> ChatCompletionEvent:
        event = ChatCompletionEvent(sequence=reader.last_sequence)
        event.heartbeat.state = self.state
        if self._generation is not None and self._engine.state is EngineState.RECOVERING:
            event.heartbeat.state = CompletionState.COMPLETION_STATE_RECOVERING
        self._place.describe(event.heartbeat)
        self._on_heartbeat(event.heartbeat)
        return event

    def _look_after(self, reader: Reader) -> None:
        """See to a reader that has been writing, or waiting, for long."""
        limits = self._limits
        if not reader.is_writing:
            if reader.seconds >= limits.heartbeat_s:
                reader.owe_heartbeat()
                self._wake()
            return
        unread_bytes, most_bytes = (
            self._log.bytes_after(reader.position),
            limits.max_unread_bytes + reader.backlog_bytes,
        )
        if reader.seconds > limits.max_write_s or unread_bytes > most_bytes:
            reader.give_up(
                SlowConsumerError(
                    f"the reader of the stream is too slow: {unread_bytes} bytes wait, and it has been busy with one "
                    f"event for {reader.seconds:.1f} s; at most {most_bytes} bytes and "
                    f"{limits.max_write_s:g} s are allowed",
                    completion_id=self.id,
                    last_sequence=reader.last_sequence,
                )
            )
        elif reader.seconds_behind >= limits.look_s:
            self._drive_alone()

    def _wake(self) -> None:
        """Let all that wait look again."""
        self._changed.set()
        if self._generation is not None:
            self._generation.wake()
