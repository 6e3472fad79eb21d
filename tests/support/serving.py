"""A server with other options than those of the fixture, and how to wait for what it will do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from support.server import TIMEOUT_S, ignore_progress
from tokenwire.config import LogConfig, ModelOptions, SecurityConfig, ServeConfig, ServerConfig
from tokenwire.engine.protocol import Engine
from tokenwire.server import Server

PORTS = ServerConfig(port=0, http_port=0, drain_grace_s=TIMEOUT_S)
"""gRPC and REST on free ports."""


@asynccontextmanager
async def serving(
    engine: Engine,
    security: SecurityConfig = SecurityConfig(),  # noqa: B008 (frozen)
    *,
    limits: ServerConfig = PORTS,
    log: LogConfig = LogConfig(),  # noqa: B008
) -> AsyncIterator[Server]:
    """Serves `tiny`."""
    config = ServeConfig(model=ModelOptions(model="tiny"), server=limits, security=security, log=log)
    server = Server(config, engine)
    try:
        await server.start(ignore_progress)
        yield server
    finally:
        await server.stop()


async def until(condition: Callable[[], Awaitable[bool]], *, every_s: float = 0.05) -> None:
    """Ask until it holds. Raises `TimeoutError` in the end."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110 (what it asks has no events)
            await asyncio.sleep(every_s)
