"""The process of a rank above 0: `python -m tokenwire.engine.model.parallel.follower FD RANK LOG_LEVEL LOG_FORMAT`.

FD is its end of a socket pair; at the other end is rank 0, the engine process. It does what it is told, and when the
other end closes it ends, wherever it stands.
"""

import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress

from tokenwire.engine.model.parallel.messages import Failed
from tokenwire.engine.protocol import EngineStartError
from tokenwire.engine.wire import FrameSocket, PeerGoneError
from tokenwire.logs import configure_logs


def main() -> None:
    """Follow rank 0 until it goes away."""
    # As in the engine process: the front end decides when everything ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leader = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with, args=[leader], name="leader", daemon=True).start()
    frames = FrameSocket(leader)
    with suppress(PeerGoneError):
        _follow(frames, rank=int(sys.argv[2]))


def _end_with(leader: socket.socket) -> None:
    """End this process when rank 0 is gone: an operation that waits for it may never come back."""
    hang_ups = select.poll()
    hang_ups.register(leader, 0)
    hang_ups.poll()
    os._exit(0)


def _follow(frames: FrameSocket, *, rank: int) -> None:
    # Here and not on top: the thread above is to watch while torch is imported, for that takes seconds.
    from tokenwire.engine.model.parallel.rank import Rank

    follower = Rank(rank)
    while True:
        for order in frames.receive(wait=True):
            try:
                reply = follower.obey(order)
            except EngineStartError as error:
                reply = Failed(str(error))
            if reply is not None:
                frames.send(reply)


if __name__ == "__main__":
    configure_logs(level=sys.argv[3], form=sys.argv[4])
    main()
