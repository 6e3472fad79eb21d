"""The cheapest reader of gRPC streams: HTTP/2 frames off one socket, without a library that looks into them."""

import socket
import struct
from collections.abc import Iterator, Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_RESET, _GO_AWAY, _WINDOW_UPDATE = 3, 7, 8
_ACK = END_STREAM = 1
_END_HEADERS = 4
_INITIAL_WINDOW_SIZE = 4
_LARGEST_WINDOW = (1 << 31) - 1
_FIRST_WINDOW = (1 << 16) - 1
_HEADER = struct.Struct(">BHBBL")
_RECEIVE_BYTES = 1 << 20


class Http2Reader:
    """One connection. Windows are as large as they may be, so that the server never waits for us."""

    def __init__(self, target: str, *, timeout_s: float) -> None:
        """`timeout_s` is how long `read` waits."""
        host, _, port = target.partition(":")
        self._target = target
        self._socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._next_stream = 1
        self._socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, struct.pack(">HL", _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", _LARGEST_WINDOW - _FIRST_WINDOW))
        )

    def call(self, path: str, messages: Sequence[bytes]) -> list[int]:
        """Make a call with each message, all at once. Gives the numbers of their streams."""
        headers = _headers(self._target, path)
        streams, frames = [], []
        for message in messages:
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            frames.append(_frame(_HEADERS, _END_HEADERS, stream, headers))
            frames.append(_frame(_DATA, END_STREAM, stream, struct.pack(">BL", 0, len(message)) + message))
            streams.append(stream)
        self._socket.sendall(b"".join(frames))
        return streams

    def read(self) -> list[tuple[int, bytes | None]]:
        """Wait for bytes. (stream, data) of what has come; None at the end of a stream."""
        data = self._socket.recv(_RECEIVE_BYTES)
        assert data, "the server closed the connection"
        return list(self._take(self._rest + data))

    def close(self) -> None:
        """Close the connection; its calls are cancelled."""
        self._socket.close()

    def _take(self, data: bytes) -> Iterator[tuple[int, bytes | None]]:
        start = 0
        while len(data) - start >= _HEADER.size:
            high, low, kind, flags, stream = _HEADER.unpack_from(data, start)
            begin = start + _HEADER.size
            end = begin + (high << 16) + low
            if end > len(data):
                break
            if kind == _DATA:
                yield stream, data[begin:end]
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._socket.sendall(_frame(kind, _ACK, 0, data[begin:end] if kind == _PING else b""))
            assert kind != _GO_AWAY, data[begin:end]
            if kind == _RESET or (kind in (_DATA, _HEADERS) and flags & END_STREAM):
                yield stream, None
            start = end
        self._rest = data[start:]


def messages(chunks: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """(when it was complete, message) of the data of one stream."""
    rest = b""
    for when_s, chunk in chunks:
        rest += chunk
        while len(rest) >= 5 and len(rest) >= (end := 5 + int.from_bytes(rest[1:5], "big")):
            yield when_s, rest[5:end]
            rest = rest[end:]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEADER.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _headers(authority: str, path: str) -> bytes:
    """HPACK (RFC 7541) of literals that stay out of the table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()
