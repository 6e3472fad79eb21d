"""A TCP proxy that resets each connection once so many bytes have come from the server."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 64 * 1024


class CuttingProxy:
    """An asynchronous context manager; `target` is where it listens."""

    def __init__(self, server: str, *, num_bytes: Callable[[], int]) -> None:
        """`server` is its address; `num_bytes` gives the bytes that the next connection lives for."""
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._num_bytes = num_bytes
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.target = ""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        host, port = self._listener.sockets[0].getsockname()
        self.target = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self, *, for_good: bool = False) -> None:
        """Reset all connections now; `for_good`: take none any more."""
        if for_good and self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.cancel()

    async def _connect(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server_reader, server = await asyncio.open_connection(self._host, self._port)
        up = asyncio.create_task(_copy(client_reader, server, None))
        down = asyncio.create_task(_copy(server_reader, client, self._num_bytes()))
        try:
            with suppress(asyncio.CancelledError):  # the proxy ends
                await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in (up, down):
                part.cancel()
            client.transport.abort()
            server.transport.abort()
            self._connections.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, num_bytes: int | None) -> None:
    """Copy so many bytes; None: all."""
    try:
        while num_bytes is None or num_bytes > 0:
            data = await reader.read(PIECE_BYTES if num_bytes is None else min(PIECE_BYTES, num_bytes))
            if not data:
                return
            writer.write(data)
            await writer.drain()
            if num_bytes is not None:
                num_bytes -= len(data)
    except ConnectionError:
        return
