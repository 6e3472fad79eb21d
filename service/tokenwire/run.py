"""Runs a server from its start to a signal."""

import asyncio
import gc
import logging
from collections.abc import Callable

from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import Progress
from tokenwire.server import Server
from tokenwire.signals import stop_on_signals

_log = logging.getLogger(__name__)


async def run(
    server: Server, *, on_progress: Callable[[Progress], None], on_ready: Callable[[ServedModel], None]
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Returns the exit code. Raises as `Server.start`.
    """
    with stop_on_signals() as signalled:
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
