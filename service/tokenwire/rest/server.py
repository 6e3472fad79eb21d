"""Runs the REST application with uvicorn inside the server's own event loop."""

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from tokenwire.rest.connections import HEAD_TIMEOUT_S, KEEP_ALIVE_S, MAX_HEAD_BYTES, bounded_protocol
from tokenwire.security.tls import Tls

CLOSE_TIMEOUT_S = 2


class RestServer:
    """One application on one listening socket, which it closes in the end."""

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        max_connections: int = 1024,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        tls: Tls | None = None,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        """Requests that are live `close_timeout_s` seconds after `stop` are cancelled."""
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                http=bounded_protocol(max_connections=max_connections, head_timeout_s=head_timeout_s),
                ws="none",
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                ssl_context_factory=None if tls is None else lambda config, default: tls.ssl_context(),
                timeout_graceful_shutdown=math.ceil(close_timeout_s),
            )
        )
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Accept connections."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))

    async def stop(self) -> None:
        """Take no more connections; finish what is live, or cancel it in the end."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._listener.close()


class _Uvicorn(uvicorn.Server):
    """Leaves the process's signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
