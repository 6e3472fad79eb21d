"""The process that tries out grammars before the engine has them: `python -m tokenwire.engine.grammar.trial FD`.

Each grammar gets a fork, with little time, memory and stack: less than the engine has, so that what passes here is safe
there. llguidance has limits of its own, but crashes where a grammar nests too deeply. Imports no torch.
"""

import os
import random
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from llguidance import LLMatcher

from tokenwire.engine.grammar.compiler import Grammar, GrammarCompiler, error_text
from tokenwire.engine.protocol import GrammarError, Trial, Verdict, Vocabulary
from tokenwire.engine.wire import FrameSocket, PeerGoneError

CPU_LIMIT_S = 2.0
TIME_LIMIT_S = 10.0
"""Of the clock on the wall: a busy machine may take longer than `CPU_LIMIT_S`."""
MEMORY_LIMIT_BYTES = 64 << 20
STACK_LIMIT_BYTES = 1 << 20
MAX_PARALLEL = 4
_PATIENCE_S = 0.1
"""What takes longer goes on with the lowest priority: requests of others have the processor first."""
_WALKS, _WALK_TOKENS, _WALKS_LIMIT_S = 4, 24, 0.5
"""So an answer takes at most some 5 ms a token; usual grammars take a hundredth of that."""

_TOO_SLOW = f"it takes more than {CPU_LIMIT_S:g} seconds to compile"
_TOO_BIG = f"it takes more than {MEMORY_LIMIT_BYTES >> 20} MiB of memory to compile"
_TOO_DEEP = f"it is too long or nests too deeply: it takes more than {STACK_LIMIT_BYTES >> 20} MiB of stack to compile"
_DEATHS: Mapping[int, str] = {
    -signal.SIGPROF: _TOO_SLOW,
    -signal.SIGSEGV: _TOO_DEEP,
    -signal.SIGBUS: _TOO_DEEP,
    -signal.SIGABRT: _TOO_BIG,
}
"""By exit code."""


def try_out(compiler: GrammarCompiler, grammar: str) -> None:
    """Compile a grammar and generate by it at random. Raises `GrammarError`.

    Some grammars compile in a moment, and then no mask can be computed within the limits.
    """
    compiled = compiler.compile(grammar)
    start_s = time.thread_time()
    for seed in range(_WALKS):
        _walk(compiled, compiler.end, random.Random(seed))
        if time.thread_time() - start_s > _WALKS_LIMIT_S:
            raise GrammarError(f"it is too complex: {_WALKS * _WALK_TOKENS} tokens take more than {_WALKS_LIMIT_S:g} s")


def _walk(grammar: Grammar, end: int, draw: random.Random) -> None:
    matcher = grammar.deep_copy()
    for _ in range(_WALK_TOKENS):
        mask = bytearray(matcher.compute_bitmask())
        mask[end // 8] = 0  # so the end of the text is not drawn
        token_id = _some_bit(mask, draw)
        if token_id is not None and not matcher.is_error():
            matcher.consume_token(token_id)
        if matcher.is_error():
            raise GrammarError(_why_stuck(matcher))
        if token_id is None or matcher.is_stopped():
            return


def _why_stuck(matcher: LLMatcher) -> str:
    message = error_text(matcher.get_error())
    if message.startswith("NoExtension"):
        return "the model's tokens cannot spell what it asks for"
    return f"it is too complex: {message}"


def _some_bit(mask: bytearray, draw: random.Random) -> int | None:
    """The number of a bit that is set."""
    start = draw.randrange(len(mask))
    rotated = mask[start:] + mask[:start]
    skipped = len(rotated) - len(rotated.lstrip(b"\0"))
    if skipped == len(rotated):
        return None
    byte = rotated[skipped]
    bit = draw.choice([bit for bit in range(8) if byte >> bit & 1])
    return (start + skipped) % len(mask) * 8 + bit


@dataclass(slots=True)
class _Running:
    """A fork at work; the end of its pipe is readable when it is done."""

    trial_id: int
    pid: int
    start_s: float


class TrialRunner:
    """Runs trials in forks, several at once, and answers each with a `Verdict`."""

    def __init__(self, compiler: GrammarCompiler, frames: FrameSocket) -> None:
        self._compiler = compiler
        self._frames = frames
        self._waiting: deque[Trial] = deque()
        self._running: dict[int, _Running] = {}  # by pipe

    def run(self) -> None:
        """Until the front end goes away; raises `PeerGoneError` then."""
        while True:
            sources = [self._frames.fileno(), *self._running]
            readable, _, _ = select.select(sources, [], [], _PATIENCE_S if self._running else None)
            for pipe in self._running.keys() & readable:
                self._finish(pipe)
            self._waiting.extend(self._frames.receive(wait=False))
            while self._waiting and len(self._running) < MAX_PARALLEL:
                self._start(self._waiting.popleft())
            self._slow_down()

    def _start(self, trial: Trial) -> None:
        pipe, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_tried(self._compiler, trial.grammar, theirs)
        os.close(theirs)
        self._running[pipe] = _Running(trial.trial_id, pid, time.monotonic())

    def _finish(self, pipe: int) -> None:
        running = self._running.pop(pipe)
        answer = os.read(pipe, select.PIPE_BUF)
        os.close(pipe)
        _, status = os.waitpid(running.pid, 0)
        if answer:
            verdict = Verdict(running.trial_id, answer[1:].decode() or None)
        elif (number := os.waitstatus_to_exitcode(status)) in _DEATHS:
            verdict = Verdict(running.trial_id, _DEATHS[number])
        else:
            verdict = Verdict(running.trial_id, _TOO_SLOW, is_lasting=False)  # killed by SIGALRM, or by the system
        self._frames.send(verdict)

    def _slow_down(self) -> None:
        for running in self._running.values():
            if time.monotonic() - running.start_s > _PATIENCE_S:
                os.setpriority(os.PRIO_PROCESS, running.pid, 19)


def _be_tried(compiler: GrammarCompiler, grammar: str, pipe: int) -> None:
    """In the fork: try the grammar out within the limits, write "+" or "-" and the refusal, and end."""
    try:
        _limit_self()
        try:
            try_out(compiler, grammar)
            answer = b"+"
        except GrammarError as error:
            answer = b"-" + str(error).encode("utf-8", "replace")
        except MemoryError:
            answer = b"-" + _TOO_BIG.encode()
        os.write(pipe, answer)
    finally:
        os._exit(0)


def _limit_self() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the last words of a crash
    signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_STACK, STACK_LIMIT_BYTES)
    with suppress(FileNotFoundError), open("/proc/self/statm", encoding="ascii") as statm:  # Linux has it
        used = int(statm.read().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, used + MEMORY_LIMIT_BYTES)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> None:
    """Take a vocabulary, say that it is there, and try out grammars until the front end goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the engine process, the front end decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    frames = FrameSocket(socket.socket(fileno=int(sys.argv[1])))
    with suppress(PeerGoneError):
        (vocabulary,) = frames.receive(wait=True)
        assert isinstance(vocabulary, Vocabulary)
        width = -(-len(vocabulary.token_bytes) // 32) * 32
        runner = TrialRunner(GrammarCompiler(vocabulary, width=width), frames)
        frames.send(None)
        runner.run()


if __name__ == "__main__":
    main()
