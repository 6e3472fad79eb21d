"""Frames over the private socket pair between the front end and its engine process.

A frame is a 4-byte little-endian length and a pickle. Both ends are ours and the pair is inherited, never listened on,
so pickle carries no foreign data.
"""

import asyncio
import pickle
import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, Self, cast

_HEADER = struct.Struct("<I")
_RECEIVE_BYTES = 1 << 18


class PeerGoneError(Exception):
    """The other end closed the pair."""


class HasFileno(Protocol):
    """Something for `select`."""

    def fileno(self) -> int:
        """Its file descriptor."""
        ...


def encode_frame(message: object) -> bytes:
    """The frame of a message."""
    payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _HEADER.pack(len(payload)) + payload


class FrameBuffer:
    """Cuts the bytes of a stream into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take the next bytes; the messages that they complete."""
        self._bytes += data
        messages = []
        start = 0
        with memoryview(self._bytes) as view:
            while len(view) - start >= _HEADER.size:
                (size,) = _HEADER.unpack_from(view, start)
                end = start + _HEADER.size + size
                if len(view) < end:
                    break
                messages.append(pickle.loads(view[start + _HEADER.size : end]))
                start = end
        del self._bytes[:start]
        return messages


class FrameLink(asyncio.Protocol):
    """The front end's end. Messages are handed over as their bytes come, without a task that waits for them."""

    def __init__(self, on_message: Callable[[Any], None], on_end: Callable[[], None]) -> None:
        """`on_end` is called once, when the pair is closed at either end."""
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = FrameBuffer()
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, sock: socket.socket, on_message: Callable[[Any], None], on_end: Callable[[], None]) -> Self:
        """A link over a connected socket, which it closes in the end."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: cls(on_message, on_end), sock=sock)
        return link

    def send(self, message: object) -> None:
        """Send one message, unless the pair is closed. The kernel buffers what the peer does not read at once, and the
        transport the rest."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(message))

    def close(self) -> None:
        """Close, once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        for message in self._buffer.feed(data):
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


async def read_frame(reader: asyncio.StreamReader) -> Any:
    """The next message. Raises `PeerGoneError` at the end of the stream."""
    try:
        (size,) = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        return pickle.loads(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise PeerGoneError from error


class FrameSocket:
    """The engine's end: blocking sends, and receiving that waits only when told to."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._buffer = FrameBuffer()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send one message. Raises `PeerGoneError`."""
        try:
            self._socket.sendall(encode_frame(message))
        except ConnectionError as error:
            raise PeerGoneError from error

    def receive(self, *, wait: bool, most_s: float | None = None, beside: HasFileno | None = None) -> list[Any]:
        """All messages that are there; with `wait`, at least one, unless `beside` is readable before it comes, or
        `most_s` seconds are over.

        Raises `PeerGoneError`.
        """
        messages: list[Any] = []
        while self._is_readable(wait_s=most_s if wait and not messages else 0, beside=beside):
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionError as error:
                raise PeerGoneError from error
            if not data:
                raise PeerGoneError
            messages += self._buffer.feed(data)
        return messages

    def _is_readable(self, *, wait_s: float | None, beside: HasFileno | None) -> bool:
        sources = [self._socket] if beside is None else [self._socket, beside]
        return self._socket in select.select(sources, [], [], wait_s)[0]
