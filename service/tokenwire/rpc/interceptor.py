"""The one interceptor of `tokenwire.v1`: parses the request, maps errors to statuses, writes the stream."""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from tokenwire.chat.caller import CURRENT, Caller
from tokenwire.errors import InternalError, MalformedMessageError, TokenwireError
from tokenwire.rpc.status import RpcStatus, status_of

_log = logging.getLogger(__name__)

# Generic in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a `tokenwire` service; others (health, reflection) pass untouched."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/tokenwire."):
            return handler
        # Without a deserializer the wrapper gets the bytes: gRPC itself would answer UNKNOWN where they do not parse.
        if handler.response_streaming:
            stream = _stream(handler, method)
            return grpc.unary_stream_rpc_method_handler(stream, None, handler.response_serializer)
        return grpc.unary_unary_rpc_method_handler(_unary(handler, method), None, handler.response_serializer)


def _unary(handler: Handler, method: str) -> Callable[[bytes, Context], Awaitable[Message]]:
    behavior: Any = handler.unary_unary

    async def call(data: bytes, context: Context) -> Message:
        CURRENT.set(_caller(context))
        try:
            answer: Message = await behavior(_parse(handler, data), context)
            return answer
        except Exception as error:  # every error of a handler ends here; cancellation is not an Exception
            status = _status(error, method)
        return await context.abort(status.code, status.message, status.trailers)

    return call


def _stream(handler: Handler, method: str) -> Callable[[bytes, Context], Awaitable[None]]:
    """A coroutine that writes, not a generator: a cancelled call then closes the handler's generator at once."""
    behavior: Any = handler.unary_stream

    async def call(data: bytes, context: Context) -> None:
        CURRENT.set(_caller(context))
        try:
            events: AsyncGenerator[Message, None] = behavior(_parse(handler, data), context)
            async with aclosing(events):
                async for event in events:
                    await context.write(event)
            return
        except Exception as error:  # as above
            status = _status(error, method)
        await context.abort(status.code, status.message, status.trailers)

    return call


def _caller(context: Context) -> Caller:
    """Who calls."""
    time_left_s = context.time_remaining()
    return Caller(deadline_s=None if time_left_s is None else time.monotonic() + time_left_s)


def _parse(handler: Handler, data: bytes) -> Message:
    assert handler.request_deserializer is not None
    try:
        message: Message = handler.request_deserializer(data)
        return message
    except DecodeError as error:
        raise MalformedMessageError(f"the {len(data)} bytes of the request do not parse as its message") from error


def _status(error: Exception, method: str) -> RpcStatus:
    if isinstance(error, TokenwireError):
        return status_of(error)
    _log.error("defect in %s", method, exc_info=error)
    return status_of(InternalError())
