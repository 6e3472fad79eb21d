"""The one interceptor of `tokenwire.v1`: finds out who calls, reads the request, maps errors, writes the stream."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from tokenwire.chat.call import note_error
from tokenwire.chat.caller import CURRENT, Caller
from tokenwire.errors import InternalError, MalformedMessageError, TokenwireError
from tokenwire.request_id import REQUEST_ID_HEADER, request_id_of
from tokenwire.rpc.status import RpcStatus, status_of
from tokenwire.rpc.types import Context, Handler
from tokenwire.rpc.wire_size import SMALL_MESSAGE_BYTES, check_wire_size, request_shape
from tokenwire.security.access import ANYBODY, Access

_log = logging.getLogger(__name__)

Trailers: TypeAlias = Sequence[tuple[str, str | bytes]]

SEND_STATUS_TIMEOUT_S = 5.0
"""For so long a handler waits for the end of its call to be sent; then the call is left to the transport."""

RECEIVE_TIMEOUT_S = 60.0
"""A request has to arrive in that time, counted from the headers of its call."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a `tokenwire` service; others (health, reflection) pass untouched."""

    def __init__(self, access: Access = ANYBODY, *, receive_timeout_s: float = RECEIVE_TIMEOUT_S) -> None:
        self._access = access
        self._receive_timeout_s = receive_timeout_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/tokenwire."):
            return handler
        # Both take a stream of requests, of which they read one: so that strangers are refused before they have sent
        # their request, and that a request which comes in drops does not wait forever. Without a deserializer they get
        # the bytes: gRPC itself would answer UNKNOWN where they do not parse.
        if handler.response_streaming:
            stream = self._stream(handler, method)
            return grpc.stream_stream_rpc_method_handler(stream, None, handler.response_serializer)
        unary = self._unary(handler, method)
        return grpc.stream_unary_rpc_method_handler(unary, None, handler.response_serializer)

    def _unary(self, handler: Handler, method: str) -> Callable[[object, Context], Awaitable[Message]]:
        behavior: Any = handler.unary_unary

        async def call(requests: object, context: Context) -> Message:
            try:
                answer: Message = await behavior(await self._request(handler, method, context), context)
                return answer
            except Exception as error:  # every error of a handler ends here; cancellation is not an Exception
                status = _status(error, method)
            return await context.abort(status.code, status.message, _trailers(context, status))

        return call

    def _stream(self, handler: Handler, method: str) -> Callable[[object, Context], Awaitable[None]]:
        """A coroutine that writes, not a generator: a cancelled call then closes the handler's generator at once."""
        behavior: Any = handler.unary_stream

        async def call(requests: object, context: Context) -> None:
            try:
                events: AsyncGenerator[Message, None] = behavior(await self._request(handler, method, context), context)
                async with aclosing(events):
                    async for event in events:
                        await context.write(event)
                return
            except grpc.aio.InternalError as error:  # a write to a connection that is no more: as if it were cancelled
                raise asyncio.CancelledError from error
            except asyncio.CancelledError as cancelled:
                status = _status(_reason(cancelled), method)
            except Exception as error:  # as above
                status = _status(error, method)
            await _end_stream(context, status)

        return call

    async def _request(self, handler: Handler, method: str, context: Context) -> Message:
        """Find out who calls, then receive and parse the request."""
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        request_id = request_id_of(headers)
        # Not initial metadata: sending them ends automatic retries.
        context.set_trailing_metadata((*(context.trailing_metadata() or ()), (REQUEST_ID_HEADER, request_id)))
        CURRENT.set(Caller(log_id=request_id))  # for the log, where nobody else comes
        time_left_s = context.time_remaining()
        deadline_s = None if time_left_s is None else time.monotonic() + time_left_s
        CURRENT.set(self._access.caller(headers, request_id=request_id, deadline_s=deadline_s))
        try:
            async with asyncio.timeout(self._receive_timeout_s):
                data = await context.read()
        except TimeoutError:
            limit = f"{self._receive_timeout_s:g} s"
            raise MalformedMessageError(f"the request must arrive within {limit}; it has not") from None
        if data is grpc.aio.EOF:
            raise MalformedMessageError("the call has no request")
        if len(data) > SMALL_MESSAGE_BYTES:
            await asyncio.to_thread(check_wire_size, data, request_shape(method))
        return _parse(handler, data)


def _reason(cancelled: asyncio.CancelledError) -> TokenwireError:
    """The error for which the task of a call was cancelled, if that was us; else the cancellation goes on."""
    match cancelled.args:
        case (TokenwireError() as error,):
            return error
    raise cancelled


async def _end_stream(context: Context, status: RpcStatus) -> None:
    """End a call to which, it may be, an event is still being written: behind that one the status waits, too."""
    try:
        async with asyncio.timeout(SEND_STATUS_TIMEOUT_S):
            await context.abort(status.code, status.message, _trailers(context, status))
    except grpc.aio.AbortError:
        raise
    except Exception:  # the client does not read, or has left: nothing can be told any more
        return


def _trailers(context: Context, status: RpcStatus) -> Trailers:
    """Those that were set before, and those of the status: what `abort` is given replaces the former."""
    return (*(context.trailing_metadata() or ()), *status.trailers)


def _parse(handler: Handler, data: bytes) -> Message:
    assert handler.request_deserializer is not None
    try:
        message: Message = handler.request_deserializer(data)
        return message
    except DecodeError as error:
        raise MalformedMessageError(f"the {len(data)} bytes of the request do not parse as its message") from error


def _status(error: Exception, method: str) -> RpcStatus:
    if not isinstance(error, TokenwireError):
        _log.error("defect in %s", method, exc_info=error)
        error = InternalError()
    note_error(error)
    return status_of(error)
