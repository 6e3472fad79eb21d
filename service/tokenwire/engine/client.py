"""The front end's handle of one engine process: starts it, sends it commands, hands its frames on, ends it."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from contextlib import suppress

from tokenwire.engine.protocol import (
    Command,
    EngineInfo,
    EngineOptions,
    EngineStartError,
    Event,
    Progress,
    Ready,
    ReceivedStep,
    Shutdown,
    StartFailed,
)
from tokenwire.engine.wire import FrameLink, PeerGoneError

STOP_TIMEOUT_S = 5.0

PROGRAM = ("-m", "tokenwire.engine.process")

OPENMP_ENVIRONMENT = {
    # OpenMP threads that wait by spinning take the cores that the front end and the clients need: with two busy
    # cores a step then took ten times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "20000",
}
GRAMMAR_ENVIRONMENT = {
    # The stack, in bytes, of llguidance's threads: far more than a trial of a grammar may take.
    "RUST_MIN_STACK": str(8 << 20),
}


class EngineProcess:
    """One engine process, from its start to its end. Another start takes another one."""

    def __init__(
        self, options: EngineOptions, *, on_frame: Callable[[ReceivedStep], None], program: Sequence[str] = PROGRAM
    ) -> None:
        """`program` is what Python runs: another one that speaks the protocol may stand in for the engine."""
        self._options = options
        self._on_frame = on_frame
        self._program = program
        self._process: Process | None = None
        self._link: FrameLink | None = None
        self._info: asyncio.Future[EngineInfo] | None = None
        self._on_progress: Callable[[Progress], None] = lambda progress: None
        self._is_ready = False
        self._dead = asyncio.Event()

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        """Start the process and wait until it accepts requests. Raises `EngineStartError`."""
        ours, theirs = socket.socketpair()
        self._info = asyncio.get_running_loop().create_future()
        self._on_progress = on_progress
        try:
            await self._spawn(theirs)
            self._link = await FrameLink.open(ours, self._take, self._end)
            self._link.send(self._options)
            return await self._ready(self._info)
        except BaseException:  # a cancelled start, too, must leave no process
            if self._link is None:
                ours.close()
            await self.stop()
            raise

    @property
    def is_dead(self) -> bool:
        """Whether it has ended, or closed its end."""
        return self._dead.is_set()

    async def wait_until_dead(self) -> None:
        """Wait until it has ended or closed its end. No frame comes afterwards."""
        await self._dead.wait()

    def send(self, command: Command) -> None:
        """Send it a command, unless it is dead."""
        if self._link is not None:
            self._link.send(command)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """End it: ask it, and kill one that does not listen or is still starting."""
        if self._link is not None:
            self._link.send(Shutdown())
            self._link.close()
        if self._process is not None:
            await _wait_or_kill(self._process, STOP_TIMEOUT_S if self._is_ready else 0)
        self._end()

    async def reap(self) -> str:
        """Once it is dead, wait until nothing of it is left. Returns how it ended, as the end of a sentence."""
        assert self._process is not None
        await _wait_or_kill(self._process, STOP_TIMEOUT_S)
        return _how_it_ended(self._process)

    async def _spawn(self, theirs: socket.socket) -> None:
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # as for the front end, a file of the working folder is no module, whatever its name
                *self._program,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=DEVNULL,
                env={
                    **OPENMP_ENVIRONMENT,
                    **os.environ,
                    **GRAMMAR_ENVIRONMENT,
                    "TQDM_DISABLE": "1",  # the engine reports its own progress
                },
            )

    async def _ready(self, info: asyncio.Future[EngineInfo]) -> EngineInfo:
        try:
            ready = await info
        except PeerGoneError:
            assert self._process is not None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            raise EngineStartError(f"while it started, the engine process {_how_it_ended(self._process)}") from None
        self._is_ready = True
        return ready

    def _take(self, event: Event) -> None:
        match event:
            case ReceivedStep():
                self._on_frame(event)
            case Progress():
                self._on_progress(event)
            case Ready(info, load):
                self._settle(info)
                self._on_frame(ReceivedStep((), load))
            case StartFailed(message):
                self._settle(EngineStartError(message))

    def _settle(self, outcome: EngineInfo | Exception) -> None:
        """Tell `start` how it went, if it still waits."""
        assert self._info is not None
        if self._info.done():
            return
        if isinstance(outcome, Exception):
            self._info.set_exception(outcome)
            self._info.exception()  # a start that was cancelled does not look
        else:
            self._info.set_result(outcome)

    def _end(self) -> None:
        """It has ended, or is not listened to any more."""
        self._dead.set()
        if self._info is not None:
            self._settle(PeerGoneError())


def _how_it_ended(process: Process) -> str:
    if process.returncode is not None and process.returncode < 0:
        killer = "; the system does that when memory runs out" if process.returncode == -signal.SIGKILL else ""
        return f"was killed by signal {-process.returncode}{killer}"
    return "ended; its log says why"


async def _wait_or_kill(process: Process, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        if process.returncode is None:  # a second stop finds it dead already, and a timeout of 0 does not look
            process.kill()
        await process.wait()
