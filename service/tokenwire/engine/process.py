"""The engine process: `python -m tokenwire.engine.process FD`, where FD is its end of the socket pair."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from tokenwire.engine.model.parallel.followers import Followers
from tokenwire.engine.protocol import EngineOptions, EngineStartError, Progress, Ready, StartFailed
from tokenwire.engine.wire import FrameSocket, PeerGoneError
from tokenwire.logs import configure_logs

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
    configure_logs(level=options.log_level, form=options.log_format)
    try:
        _serve(frames, options)
    except PeerGoneError:
        pass
    except EngineStartError as error:
        frames.send(StartFailed(str(error)))


def _serve(frames: FrameSocket, options: EngineOptions) -> None:
    # The first progress goes out before torch is imported: that takes seconds on a slow disk.
    frames.send(Progress("starting the engine"))
    is_ready = threading.Event()
    with _start_followers(options, on_lost=_ender(frames, is_ready)) as followers:
        from tokenwire.engine.assembly import build_engine
        from tokenwire.engine.loop import EngineLoop

        engine = build_engine(options, on_progress=frames.send, followers=followers)
        loop = EngineLoop(
            engine.scheduler,
            engine.runner,
            engine.sampler,
            frames,
            overlap=engine.overlap,
            retries=followers is None,
        )
        is_ready.set()
        frames.send(Ready(info=engine.info, load=loop.load))
        loop.run()


def _start_followers(
    options: EngineOptions, *, on_lost: Callable[[str], None]
) -> AbstractContextManager[Followers | None]:
    """The processes of the other ranks in tensor parallel; without it, none."""
    if options.tensor_parallel == 1:
        return nullcontext()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # transformers shares a model out among GPUs where it sees any
    return Followers(
        options.tensor_parallel, on_lost=on_lost, log_level=options.log_level, log_format=options.log_format
    )


def _ender(frames: FrameSocket, is_ready: threading.Event) -> Callable[[str], None]:
    """What ends this process, from any thread, when another rank has died."""

    def end(message: str) -> None:
        logger.error("%s, and the engine with it", message)
        if not is_ready.is_set():
            with suppress(PeerGoneError):
                frames.send(StartFailed(message))
        os._exit(1)  # the other thread may wait for that rank

    return end


if __name__ == "__main__":
    main()
