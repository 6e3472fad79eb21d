"""The front end's handle of an engine process: starts it, sends requests, hands each generation its outputs."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Sequence
from contextlib import suppress

from tokenwire.engine.grammar.checker import GrammarChecker
from tokenwire.engine.protocol import (
    Abort,
    Command,
    EngineInfo,
    EngineLoad,
    EngineOptions,
    EngineStartError,
    Event,
    FinishReason,
    GenerationRequest,
    Preempt,
    Progress,
    Ready,
    SequenceOutput,
    SetVocabulary,
    Shutdown,
    StartFailed,
    StepFrame,
    Submit,
    Vocabulary,
)
from tokenwire.engine.wire import FrameLink, PeerGoneError
from tokenwire.errors import EngineFaultError

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
    """An engine in a process of its own. Implements `tokenwire.engine.protocol.Engine`."""

    def __init__(self, options: EngineOptions, *, program: Sequence[str] = PROGRAM) -> None:
        """`program` is what Python runs: another one that speaks the protocol may stand in for the engine."""
        self._options = options
        self._program = program
        self._process: Process | None = None
        self._link: FrameLink | None = None
        self._info: asyncio.Future[EngineInfo] | None = None
        self._on_progress: Callable[[Progress], None] = lambda progress: None
        self._generations: dict[str, ProcessGeneration] = {}
        self._checker: GrammarChecker | None = None
        self._load = EngineLoad()
        self._load_changed = asyncio.Event()
        self._is_ready = False
        self._dead = asyncio.Event()

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        """Start the process and wait until it accepts requests. Raises `EngineStartError`."""
        ours, theirs = socket.socketpair()
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
        self._on_progress = on_progress
        self._info = asyncio.get_running_loop().create_future()
        self._link = await FrameLink.open(ours, self._take, self._end)
        self._link.send(self._options)
        try:
            return await self._ready(self._info, self._process)
        except BaseException:  # a cancelled start, too, must leave no process
            await self.stop()
            raise

    @property
    def load(self) -> EngineLoad:
        """The figures of the newest step frame."""
        return self._load

    async def wait_for_load(self, condition: Callable[[EngineLoad], bool]) -> EngineLoad:
        """Wait for a step frame whose figures meet the condition. Raises `EngineFaultError` if the engine dies."""
        while not condition(self._load):
            if self._dead.is_set():
                raise EngineFaultError("the engine process ended")
            await self._load_changed.wait()
        return self._load

    async def wait_until_dead(self) -> None:
        """Wait until the process has ended or closed its end."""
        await self._dead.wait()

    async def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """As `Engine.set_vocabulary`. Raises `EngineStartError` if the process that checks grammars does not start."""
        self._send(SetVocabulary(vocabulary))
        checker = GrammarChecker(vocabulary)
        await checker.start()
        self._checker = checker

    async def check_grammar(self, grammar: str) -> None:
        """As `Engine.check_grammar`. Raises `EngineFaultError`, too, when the engine is dead."""
        if self._checker is None or self._dead.is_set():
            raise EngineFaultError("the engine process ended")
        await self._checker.check(grammar)

    def preempt(self) -> None:
        """Preempt every running sequence. For tests."""
        self._send(Preempt())

    def generate(self, request: GenerationRequest) -> "ProcessGeneration":
        """Queue a request. Raises `EngineFaultError` when the engine is dead."""
        if self._dead.is_set():
            raise EngineFaultError("the engine process ended", completion_id=request.request_id)
        generation = ProcessGeneration(request, send=self._send, forget=self._forget)
        self._generations[request.request_id] = generation
        self._send(Submit(request))
        return generation

    async def stop(self) -> None:
        """End the process: ask it, and kill one that does not listen or is still starting. Live generations fail."""
        if self._link is not None:
            self._link.send(Shutdown())
            self._link.close()
        if self._checker is not None:
            await self._checker.stop()
        if self._process is not None:
            await _wait_or_kill(self._process, STOP_TIMEOUT_S if self._is_ready else 0)
        self._end()

    async def _ready(self, info: asyncio.Future[EngineInfo], process: Process) -> EngineInfo:
        try:
            ready = await info
        except PeerGoneError:
            raise EngineStartError(await _why_it_ended(process)) from None
        self._is_ready = True
        return ready

    def _take(self, event: Event) -> None:
        match event:
            case StepFrame():
                self._dispatch(event)
            case Progress():
                self._on_progress(event)
            case Ready(info, load):
                self._load = load
                self._settle(info)
            case StartFailed(message):
                self._settle(EngineStartError(message))

    def _settle(self, outcome: EngineInfo | Exception) -> None:
        """Tell `start` how it went, if it still waits."""
        assert self._info is not None
        if self._info.done():
            return
        if isinstance(outcome, Exception):
            self._info.set_exception(outcome)
        else:
            self._info.set_result(outcome)

    def _dispatch(self, frame: StepFrame) -> None:
        self._load = frame.load
        self._notify_load()
        for output in frame.outputs:
            if (generation := self._generations.get(output.request_id)) is not None:
                generation.add(output)

    def _notify_load(self) -> None:
        self._load_changed.set()
        self._load_changed.clear()

    def _end(self) -> None:
        """The engine has ended, or is not listened to any more."""
        self._dead.set()
        self._notify_load()
        if self._info is not None:
            self._settle(PeerGoneError())
        for generation in self._generations.values():
            generation.fail()
        self._generations.clear()

    def _send(self, command: Command) -> None:
        if self._link is not None:
            self._link.send(command)

    def _forget(self, request_id: str) -> None:
        self._generations.pop(request_id, None)


class ProcessGeneration:
    """One live request. Implements `tokenwire.engine.protocol.Generation`."""

    def __init__(
        self, request: GenerationRequest, *, send: Callable[[Command], None], forget: Callable[[str], None]
    ) -> None:
        self._request_id = request.request_id
        self._open = set(range(request.n))
        self._send = send
        self._forget = forget
        self._outputs: list[SequenceOutput] = []
        self._arrived = asyncio.Event()
        self._has_failed = False

    async def receive(self) -> tuple[SequenceOutput, ...]:
        """As `Generation.receive`."""
        while not self._outputs:
            if self._has_failed:
                raise EngineFaultError("the engine process ended", completion_id=self._request_id)
            self._arrived.clear()
            await self._arrived.wait()
        outputs, self._outputs = tuple(self._outputs), []
        return outputs

    def abort(self, index: int | None = None) -> None:
        """As `Generation.abort`."""
        dropped = self._open if index is None else self._open & {index}
        if dropped:
            self._send(Abort(self._request_id, index))
        self._close(dropped)
        self._outputs = [output for output in self._outputs if index is not None and output.index != index]

    def add(self, output: SequenceOutput) -> None:
        """Take an output from a step frame; those of dropped sequences are left out."""
        if output.index not in self._open or output.finish_reason is FinishReason.ABORTED:
            return
        self._outputs.append(output)
        self._arrived.set()
        if output.finish_reason is not None:
            self._close({output.index})

    def fail(self) -> None:
        """The engine died."""
        self._has_failed = True
        self._arrived.set()

    def _close(self, indices: set[int]) -> None:
        self._open = self._open - indices
        if not self._open:
            self._forget(self._request_id)


async def _why_it_ended(process: Process) -> str:
    """What the operator is told of a process that has closed its end while it started."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    if process.returncode is not None and process.returncode < 0:
        killer = "; the system does that when memory runs out" if process.returncode == -signal.SIGKILL else ""
        return f"the engine process was killed while it started, by signal {-process.returncode}{killer}"
    return "the engine process ended while it started; its log says why"


async def _wait_or_kill(process: Process, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        if process.returncode is None:  # a second stop finds it dead already, and a timeout of 0 does not look
            process.kill()
        await process.wait()
