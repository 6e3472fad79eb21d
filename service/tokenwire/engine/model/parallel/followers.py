"""Rank 0's hold on the processes of the other ranks: starts them, tells them what to do, sees when one dies."""

import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tokenwire.engine.model.parallel.messages import Done, Failed, Memory, Order, Reply
from tokenwire.engine.protocol import EngineStartError
from tokenwire.engine.wire import FrameSocket, PeerGoneError

PROGRAM = "tokenwire.engine.model.parallel.follower"
_END_TIMEOUT_S = 5.0


class FollowerLostError(Exception):
    """A follower has gone. Which one, and how, is said by the thread that watches them."""


class Followers:
    """The processes of rank 1 and up. As a context manager it ends them, whatever happened."""

    def __init__(
        self, size: int, *, on_lost: Callable[[str], None], log_level: str = "info", log_format: str = "text"
    ) -> None:
        """Start `size` − 1 processes, which log as `configure_logs` has it.

        `on_lost` is told, in another thread, which rank died. It is to end this process: a collective operation that
        waits for a dead rank may not come back.
        """
        self.size = size
        self._followers = [_Follower(rank, log_level, log_format) for rank in range(1, size)]
        self._on_lost = on_lost
        self._is_closing = False
        self._watching = threading.Thread(target=self._watch, name="followers", daemon=True)
        self._watching.start()

    def tell(self, order: Order) -> None:
        """Tell all of them. Raises `FollowerLostError`."""
        for follower in self._followers:
            follower.tell(order)

    def wait(self) -> list[Reply]:
        """The answer of each. Raises `EngineStartError` where one has failed, and `FollowerLostError`."""
        replies = [follower.receive() for follower in self._followers]
        for rank, reply in enumerate(replies, 1):
            if isinstance(reply, Failed):
                raise EngineStartError(f"rank {rank} of {self.size}: {reply.message}")
        return replies

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, FollowerLostError | RuntimeError):
            # Collective operations fail, too, when a rank has died. `on_lost` knows more, and ends this process.
            self._watching.join(_END_TIMEOUT_S)
        self._is_closing = True
        for follower in self._followers:
            follower.hang_up()
        for follower in self._followers:
            follower.wait_or_kill()

    def _watch(self) -> None:
        hang_ups = select.poll()
        ranks = {follower.fileno(): follower for follower in self._followers}
        for descriptor in ranks:
            hang_ups.register(descriptor, 0)  # nothing but the hang-up, which is always told
        descriptor, _ = hang_ups.poll()[0]
        if not self._is_closing:
            lost = ranks[descriptor]
            self._on_lost(f"rank {lost.rank} of {self.size} {lost.how_it_ended()}")


class _Follower:
    """One process, at the other end of a socket pair of its own."""

    def __init__(self, rank: int, log_level: str, log_format: str) -> None:
        self.rank = rank
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno()), str(rank), log_level, log_format],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._frames = FrameSocket(self._socket)

    def fileno(self) -> int:
        """For `poll`."""
        return self._socket.fileno()

    def tell(self, order: Order) -> None:
        try:
            self._frames.send(order)
        except PeerGoneError as error:
            raise FollowerLostError from error

    def receive(self) -> Reply:
        try:
            (reply,) = self._frames.receive(wait=True)
        except PeerGoneError as error:
            raise FollowerLostError from error
        assert isinstance(reply, Done | Memory | Failed)
        return reply

    def hang_up(self) -> None:
        """The process then ends by itself, whatever it does."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def wait_or_kill(self) -> None:
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()

    def how_it_ended(self) -> str:
        """The end of a sentence about a process that has closed its socket."""
        try:
            code = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "does not answer any more"
        if code >= 0:
            return f"ended with exit code {code}; its log says why"
        killer = "; the system does that when memory runs out" if code == -signal.SIGKILL else ""
        return f"was killed by signal {-code}{killer}"
