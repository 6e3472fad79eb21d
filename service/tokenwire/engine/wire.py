"""Frames over the private socket pair between the front end and its engine process.

A frame is a 4-byte little-endian length and a pickle. Both ends are ours and the pair is inherited, never listened on,
so pickle carries no foreign data.
"""

import asyncio
import pickle
import select
import socket
import struct
from typing import Any, Protocol

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
        self._buffer = bytearray()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send one message. Raises `PeerGoneError`."""
        try:
            self._socket.sendall(encode_frame(message))
        except ConnectionError as error:
            raise PeerGoneError from error

    def receive(self, *, wait: bool, beside: HasFileno | None = None) -> list[Any]:
        """All messages that are there; with `wait`, at least one, unless `beside` is readable before it comes.

        Raises `PeerGoneError`.
        """
        messages = self._complete_frames()
        while self._is_readable(wait=wait and not messages, beside=beside):
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionError as error:
                raise PeerGoneError from error
            if not data:
                raise PeerGoneError
            self._buffer += data
            messages += self._complete_frames()
        return messages

    def _is_readable(self, *, wait: bool, beside: HasFileno | None) -> bool:
        sources = [self._socket] if beside is None else [self._socket, beside]
        return self._socket in select.select(sources, [], [], None if wait else 0)[0]

    def _complete_frames(self) -> list[Any]:
        messages = []
        start = 0
        while len(self._buffer) - start >= _HEADER.size:
            (size,) = _HEADER.unpack_from(self._buffer, start)
            end = start + _HEADER.size + size
            if len(self._buffer) < end:
                break
            messages.append(pickle.loads(self._buffer[start + _HEADER.size : end]))
            start = end
        del self._buffer[:start]
        return messages
