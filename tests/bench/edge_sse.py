"""The cheapest reader of REST streams: bytes off many sockets, which nobody looks into meanwhile."""

import selectors
import socket
from collections.abc import Iterator

_RECEIVE_BYTES = 1 << 18


class SseReader:
    """A connection a stream, all in one thread."""

    def __init__(self, target: str, *, timeout_s: float) -> None:
        """`timeout_s` is how long `read` waits."""
        host, _, port = target.partition(":")
        self._address = (host, int(port))
        self._timeout_s = timeout_s
        self._selector = selectors.DefaultSelector()
        self._num_streams = 0

    def call(self, path: str, body: bytes, *, streams: int) -> range:
        """Make so many equal requests at once. Gives the numbers of their streams."""
        head = f"POST {path} HTTP/1.1\r\nHost: {self._address[0]}\r\nConnection: close\r\nContent-Length: {len(body)}"
        numbers = range(self._num_streams, self._num_streams + streams)
        self._num_streams += streams
        for number in numbers:
            connection = socket.create_connection(self._address, timeout=self._timeout_s)
            connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
            self._selector.register(connection, selectors.EVENT_READ, number)
        return numbers

    def read(self) -> Iterator[tuple[int, bytes | None]]:
        """Wait for bytes. (stream, data) of what has come; None at the end of a stream."""
        ready = self._selector.select(self._timeout_s)
        assert ready, f"nothing came for {self._timeout_s:g} s"
        for key, _ in ready:
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(_RECEIVE_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()
            yield key.data, data or None

    def close(self) -> None:
        """Close all connections; what they asked for is cancelled."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
