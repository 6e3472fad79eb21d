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


class CallerMiddleware:
    """Sets the caller of the request, or refuses it; sets `request.state.request_id` and the header of the answer."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        app = self._app
        CURRENT.set(Caller(log_id=request_id))
        if scope["path"] not in OPEN_PATHS and not scope["path"].startswith(FOLDER):
            try:
                CURRENT.set(self._access.caller(headers, request_id=request_id))
            except TokenwireError as error:
                app = error_response(error)
        await app(scope, receive, send_with_id)
