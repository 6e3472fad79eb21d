"""Watches the HTTP requests: their access lines and metrics."""

from collections.abc import Sequence
from http import HTTPMethod

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tokenwire.chat.call import CALL, Call, CallObserver, end_call
from tokenwire.error_table import CLIENT_CLOSED_REQUEST

_METHODS = frozenset(HTTPMethod)


class CallMiddleware:
    """Comes before those that answer: it sees how every request ends, refused ones and defects too."""

    def __init__(self, app: ASGIApp, *, paths: Sequence[str], observers: Sequence[CallObserver]) -> None:
        """`paths` are those of the routes; a parameter is the last part of one."""
        self._app = app
        self._fixed = frozenset(path for path in paths if "{" not in path)
        self._prefixes = [path.partition("{")[0] for path in paths if "{" in path]
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Until it is answered whole, and where the client leaves before.
        call = Call(method=self._route(scope), is_http=True, code=str(CLIENT_CLOSED_REQUEST))
        CALL.set(call)
        status = ""

        async def send_observed(message: Message) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = str(message["status"])
            elif not message.get("more_body", False):
                call.code = status

        try:
            await self._app(scope, receive, send_observed)
        finally:
            end_call(call, self._observers)

    def _route(self, scope: Scope) -> str:
        """Method and route, of which there are a few, whatever is asked."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        path = scope["path"]
        if path in self._fixed:
            return f"{method} {path}"
        for prefix in self._prefixes:
            if path.startswith(prefix):
                return f"{method} {prefix}{{id}}"
        return f"{method} other"
