"""The engine process: `python -m tokenwire.engine.process FD`, where FD is its end of the socket pair."""

import logging
import signal
import socket
import sys

from tokenwire.engine.protocol import EngineOptions, EngineStartError, Progress, Ready, StartFailed
from tokenwire.engine.wire import FrameSocket, PeerGoneError

logger = logging.getLogger("tokenwire.engine")


def main() -> None:
    """Load the model, then step until the front end says stop or goes away."""
    # A terminal's ^C and a service manager's SIGTERM reach the whole group. The front end decides when the engine ends:
    # it drains first. If it dies, the socket closes and the engine follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    frames = FrameSocket(socket.socket(fileno=int(sys.argv[1])))
    (options,) = frames.receive(wait=True)
    assert isinstance(options, EngineOptions)
    try:
        _serve(frames, options)
    except PeerGoneError:
        pass
    except EngineStartError as error:
        frames.send(StartFailed(str(error)))


def _serve(frames: FrameSocket, options: EngineOptions) -> None:
    # The first progress goes out before torch is imported: that takes seconds on a slow disk.
    frames.send(Progress("starting the engine"))
    from tokenwire.engine.loop import EngineLoop, build_engine

    engine = build_engine(options, on_progress=frames.send)
    loop = EngineLoop(engine.scheduler, engine.runner, engine.sampler, frames)
    frames.send(Ready(info=engine.info, load=loop.load))
    loop.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main()
