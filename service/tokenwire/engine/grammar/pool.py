"""Grammars for the engine's loop: compiled in threads, so that no step waits for one, and kept for later requests."""

import socket
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from tokenwire.engine.grammar.compiler import Grammar, GrammarCompiler

MAX_KEPT = 32
"""Compiled grammars; each may take as much memory as its trial might."""
THREADS = 2
STACK_BYTES = 16 << 20
"""Of a thread: many times what a trial has."""


class GrammarPool:
    """Compiles grammars. Readable for `select` when one has become ready since `drain`. For use by one thread."""

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        threading.stack_size(STACK_BYTES)  # of threads that the process starts from now on
        self._threads = ThreadPoolExecutor(THREADS, "grammar")
        self._kept: OrderedDict[str, Future[Grammar]] = OrderedDict()
        self._readable, self._news = socket.socketpair()
        self._readable.setblocking(False)
        self._news.setblocking(False)

    def fileno(self) -> int:
        """For `select`."""
        return self._readable.fileno()

    def drain(self) -> None:
        """Be readable no more."""
        with suppress(BlockingIOError):
            self._readable.recv(1 << 12)

    def compile(self, grammar: str) -> Future[Grammar]:
        """The compiled grammar; done at once for one of the last `MAX_KEPT`. Its error is a `GrammarError`."""
        compiled = self._kept.get(grammar)
        if compiled is None:
            compiled = self._kept[grammar] = self._threads.submit(self._compile, grammar)
            compiled.add_done_callback(self._tell)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(grammar)
        return compiled

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._readable.close()
        self._news.close()

    def _compile(self, grammar: str) -> Grammar:
        compiled = self._compiler.compile(grammar)
        compiled.compute_bitmask()  # the first mask takes longest, and copies share what it has found out
        return compiled

    def _tell(self, _: Future[Grammar]) -> None:
        with suppress(OSError):  # it is full of news already, or closed
            self._news.send(b"\0")
