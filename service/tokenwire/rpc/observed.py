"""The interceptor that watches the calls of `tokenwire.v1`: access lines, metrics, and load reports at their ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from tokenwire.chat.call import CALL, Call, CallObserver, end_call
from tokenwire.chat.load import ServiceLoad
from tokenwire.rpc.orca import ORCA_KEY, load_report
from tokenwire.rpc.types import Context, Handler

REPORT_AGE_S = 0.1
"""A load report is at most so old."""

_PACKAGE = "/tokenwire.v1."
_CHAT = "/tokenwire.v1.ChatService/"
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Comes before the one that maps errors: it sees how the call ends."""

    def __init__(self, observers: Sequence[CallObserver], *, load: Callable[[], ServiceLoad]) -> None:
        """`load` gives what the trailers of the chat calls report."""
        self._observers = observers
        self._load = load
        self._report: tuple[float, bytes] = (-REPORT_AGE_S, b"")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        handler: Any = await continuation(handler_call_details)
        if handler is None or not method.startswith(_PACKAGE):
            return handler  # type: ignore[no-any-return]
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        observed: Handler = handler._replace(**{kind: self._observed(getattr(handler, kind), method)})
        return observed

    def _observed(
        self, behavior: Callable[[object, Context], Awaitable[Any]], method: str
    ) -> Callable[[object, Context], Awaitable[Any]]:
        """`behavior` is a coroutine function, which writes where it streams."""

        async def call(request: object, context: Context) -> Any:
            call = Call(method=method.removeprefix(_PACKAGE))
            CALL.set(call)
            if method.startswith(_CHAT):
                self._add_report(context)  # for an end by `abort`, which sends what is set until then
            try:
                answer = await behavior(request, context)
                if method.startswith(_CHAT):
                    self._add_report(context)
                return answer
            except asyncio.CancelledError:
                time_left_s = context.time_remaining()
                is_late = time_left_s is not None and time_left_s <= 0
                call.code = "DEADLINE_EXCEEDED" if is_late else "CANCELLED"
                raise
            finally:
                end_call(call, self._observers)

        return call

    def _add_report(self, context: Context) -> None:
        """Under a flood of calls one report does for many: the estimate of the wait is not for nothing."""
        now_s = time.monotonic()
        if now_s - self._report[0] >= REPORT_AGE_S:
            self._report = (now_s, load_report(self._load()))
        others = (entry for entry in context.trailing_metadata() or () if entry[0] != ORCA_KEY)
        context.set_trailing_metadata((*others, (ORCA_KEY, self._report[1])))
