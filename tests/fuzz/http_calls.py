"""Sends HTTP requests byte by byte as they are, many at once, and judges the answers."""

import io
import json
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Final

from fuzz.calls import HANG_S
from fuzz.http_inputs import MAX_HEAD_BYTES, HttpCall
from fuzz.oracle import DefectError

LEAVES_AFTER_S: Final = 0.05
"""A caller whose request cannot end goes after that time."""
_THREADS: Final = 8
_ERROR_KEYS: Final = {"message", "type", "param", "code"}


@dataclass(frozen=True, slots=True)
class HttpOutcome:
    """What came back until the server closed the connection; nothing where the caller left."""

    data: bytes
    is_hanging: bool = False


class HttpCaller:
    """Calls one server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._threads = ThreadPoolExecutor(_THREADS)

    def make(self, made: Sequence[HttpCall]) -> list[tuple[HttpCall, HttpOutcome]]:
        """All at once, as far as there are threads."""
        return list(zip(made, self._threads.map(self._make, made), strict=True))

    def close(self) -> None:
        self._threads.shutdown()

    def _make(self, call: HttpCall) -> HttpOutcome:
        with socket.create_connection(("127.0.0.1", self._port), timeout=HANG_S) as connection:
            answer = bytearray()
            with suppress(ConnectionError):  # refused in the midst of sending: an answer may have come nevertheless
                connection.sendall(call.data)
            if not call.is_whole:
                connection.settimeout(LEAVES_AFTER_S)
            try:
                while piece := connection.recv(1 << 16):
                    answer += piece
            except TimeoutError:
                return HttpOutcome(bytes(answer), is_hanging=call.is_whole)
            except ConnectionError:
                pass
            return HttpOutcome(bytes(answer))


def judge_http(call: HttpCall, outcome: HttpOutcome) -> str:
    """The status of an answer that is right. Raises `DefectError`."""
    if outcome.is_hanging:
        raise DefectError(f"no end after {HANG_S:g} s; so far {outcome.data[:200]!r}")
    if not call.is_whole:
        return "left"
    # What is refused while it is still being sent: that can cut the answer off.
    may_be_cut = len(call.data) > MAX_HEAD_BYTES
    if not outcome.data and may_be_cut:
        return "closed"
    response = _response(call, outcome.data)
    try:
        body = response.read()
    except HTTPException as error:
        if may_be_cut:
            return "closed"
        raise DefectError(f"the answer is no HTTP: {error}") from error
    status = response.status
    if status >= 500 and status != 503:
        raise DefectError(f"{status}: {body[:300]!r}")
    if call.method != "HEAD":
        _check_body(response, body)
    return str(status)


def _response(call: HttpCall, data: bytes) -> HTTPResponse:
    class _Bytes:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    response = HTTPResponse(_Bytes(), method=call.method)  # type: ignore[arg-type]
    try:
        response.begin()
    except (HTTPException, ValueError) as error:
        raise DefectError(f"the answer is no HTTP: {data[:200]!r}") from error
    return response


def _check_body(response: HTTPResponse, body: bytes) -> None:
    kind = response.getheader("content-type", "")
    if kind.startswith("text/event-stream"):
        if response.status != 200 or not body.endswith(b"data: [DONE]\n\n"):
            raise DefectError(f"a stream without its end: {body[-200:]!r}")
        return
    if response.status == 200 and not kind.startswith("application/json"):
        return  # the page of the playground and its files, and the metrics
    try:
        value = json.loads(body)
    except ValueError as error:
        raise DefectError(f"{response.status} {kind} whose body is no JSON: {body[:200]!r}") from error
    if (
        response.status >= 400
        and "status" not in value
        and (set(value) != {"error"} or set(value["error"]) != _ERROR_KEYS)
    ):
        raise DefectError(f"{response.status} without the error object: {body[:200]!r}")
