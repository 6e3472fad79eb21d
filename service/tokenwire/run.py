"""Runs a server from its start to a signal."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import Progress
from tokenwire.server import Server

_log = logging.getLogger(__name__)


async def run(
    server: Server, *, on_progress: Callable[[Progress], None], on_ready: Callable[[ServedModel], None]
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Returns the exit code. Raises as `Server.start`.
    """
    with _stop_on_signals() as signalled:
        starting = asyncio.create_task(server.start(on_progress))
        stopping = asyncio.create_task(signalled.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return 0
            on_ready(starting.result())
            # What is there now stays: the collector need not look through it again, which would stop every stream for
            # about 50 ms at a time.
            gc.freeze()
            await stopping
            _log.info("draining: %d completions are live", server.service.active)
            await server.drain()
            return 0
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            await server.stop()


@contextmanager
def _stop_on_signals() -> Iterator[asyncio.Event]:
    """The event is set by the first SIGTERM or SIGINT; the second ends the process with 128 + its number."""
    signalled = asyncio.Event()

    def handle(number: int) -> None:
        if signalled.is_set():
            os._exit(128 + number)
        signalled.set()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, handle, number)
    try:
        yield signalled
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
