"""Finds out who calls, and gives every answer its `x-request-id`."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenwire.chat.caller import CURRENT, Caller
from tokenwire.errors import TokenwireError
from tokenwire.request_id import REQUEST_ID_HEADER, request_id_of
from tokenwire.rest.errors import error_response
from tokenwire.rest.playground.endpoints import FOLDER
from tokenwire.security.access import Access

OPEN_PATHS = ("/", "/health", "/openapi.json")
"""Load balancers ask without a key, and so do browsers: the page asks its user for one."""


class RequestIdMiddleware:
    """Comes before all others: every answer has an id, those to the questions of browsers and to defects, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope))
        CURRENT.set(Caller(log_id=request_id))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


class CallerMiddleware:
    """Sets the caller of the request, or refuses it."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not scope["path"].startswith(FOLDER):
            try:
                CURRENT.set(self._access.caller(Headers(scope=scope), request_id=CURRENT.get().log_id))
            except TokenwireError as error:
                app = error_response(error)
        await app(scope, receive, send)
