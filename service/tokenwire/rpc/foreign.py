"""The interceptor of the services that are not ours, health and reflection: bytes that do not parse get our status."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from tokenwire.errors import MalformedMessageError
from tokenwire.rpc.status import status_of
from tokenwire.rpc.types import Context, Handler


class ForeignInterceptor(grpc.aio.ServerInterceptor):
    """Takes the parsing out of gRPC, which would answer UNKNOWN, into the handlers."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith("/tokenwire."):
            return handler
        serializer = handler.response_serializer
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(_each(handler, handler.stream_stream), None, serializer)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_one(handler, handler.unary_stream), None, serializer)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_one(handler, handler.unary_unary), None, serializer)
        return handler


def _one(handler: Handler, behavior: Any) -> Callable[[bytes, Context], Awaitable[Any]]:
    """`behavior` is a coroutine function, which writes where it streams."""

    async def call(data: bytes, context: Context) -> Any:
        return await behavior(await _parsed(handler, data, context), context)

    return call


def _each(handler: Handler, behavior: Any) -> Callable[[AsyncIterator[bytes], Context], AsyncIterator[Message]]:
    """`behavior` is an asynchronous generator."""

    async def parsed(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        async for data in requests:
            yield await _parsed(handler, data, context)

    async def call(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        async for answer in behavior(parsed(requests, context), context):
            yield answer

    return call


async def _parsed(handler: Handler, data: bytes, context: Context) -> Message:
    assert handler.request_deserializer is not None
    try:
        message: Message = handler.request_deserializer(data)
        # Reflection sends the request back within its answer: one level deeper than a parser may take.
        message.DiscardUnknownFields()
        return message
    except DecodeError:
        error = MalformedMessageError(f"the {len(data)} bytes of the request do not parse as its message")
    status = status_of(error)
    return await context.abort(status.code, status.message, status.trailers)
