"""HTTP connections within bounds: how many there are, and how long one may take to say what it wants."""

import asyncio
import json
from typing import Any

import h11
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tokenwire.errors import MalformedMessageError, TokenwireError
from tokenwire.request_id import REQUEST_ID_HEADER, request_id_of
from tokenwire.rest.errors import error_json

MAX_HEAD_BYTES = 64 * 1024
"""Request line and headers."""

ABORT_KEY = "tokenwire.abort"
"""In the scope of a request: a function that closes the connection at once, whatever still waits to be sent."""

HEAD_TIMEOUT_S = 20.0
"""They have to arrive in that time, counted from the opening of the connection or from their first byte."""

KEEP_ALIVE_S = 75
"""Then a connection without a request is closed; load balancers keep theirs for a minute."""


def bounded_protocol(*, max_connections: int, head_timeout_s: float = HEAD_TIMEOUT_S) -> type[asyncio.Protocol]:
    """uvicorn's protocol with the bounds that it has no options for."""

    class BoundedProtocol(H11Protocol):
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(config, server_state, app_state, _loop)
            self._head_timer: asyncio.TimerHandle | None = None
            self.app = self._with_abort(self.app)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                transport.abort()
            else:
                self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_timer()
            elif self._head_timer is None:
                self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """As uvicorn's, with an error object. Behind an answer that has begun there is nothing to say."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._answer(MalformedMessageError(msg))
            self.transport.close()

        def _answer(self, error: TokenwireError) -> None:
            body = json.dumps(error_json(error)).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
                (REQUEST_ID_HEADER, request_id_of({})),
            ]
            status = error.kind.http_status
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

        def _with_abort(self, app: ASGI3Application) -> ASGI3Application:
            async def run(scope: Any, receive: Any, send: Any) -> None:
                scope[ABORT_KEY] = self.transport.abort
                await app(scope, receive, send)

            return run

        def _expect_head(self) -> None:
            self._head_timer = self.loop.call_later(head_timeout_s, self.transport.abort)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedProtocol
