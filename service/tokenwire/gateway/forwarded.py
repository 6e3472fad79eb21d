"""The API key of an HTTP request on its way to the service, which alone knows the keys."""

from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenwire.security.access import AUTHORIZATION

AUTHORIZATION_OF_REQUEST: ContextVar[str] = ContextVar("authorization", default="")
"""Header of the HTTP request that is being handled."""


class ForwardingMiddleware:
    """Sets `AUTHORIZATION_OF_REQUEST`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = Headers(scope=scope).get(AUTHORIZATION, "")
            # Metadata of gRPC is printable ASCII; no key is anything else.
            AUTHORIZATION_OF_REQUEST.set(given if given.isascii() and given.isprintable() else "")
        await self._app(scope, receive, send)
