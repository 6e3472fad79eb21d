"""The endpoint of responses."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from tokenwire.errors import TokenwireError
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BodyReader, unless_disconnected
from tokenwire.rest.ignored import UnknownFields
from tokenwire.rest.responses.events import ResponseEvents
from tokenwire.rest.responses.requests import parse_response_request
from tokenwire.rest.responses.stream import ResponseStream
from tokenwire.rest.sse import first_event, stream_response
from tokenwire.v1.chat_pb2 import ChatCompletionEvent


class ResponseEndpoints:
    """One method a route."""

    def __init__(
        self, backend: ChatBackend, *, read_body: BodyReader, unknown_fields: UnknownFields, keepalive_s: float
    ) -> None:
        self._backend = backend
        self._read_body = read_body
        self._unknown_fields = unknown_fields
        self._keepalive_s = keepalive_s

    async def create(self, request: Request) -> Response | ASGIApp:
        """POST /v1/responses. A whole answer is the last event of the stream: a completion does not say in which order
        the items of a response were written, nor which of its tokens are the message's."""
        parsed = parse_response_request(await self._read_body(request))
        headers = self._unknown_fields(parsed.ignored_fields)
        try:
            first, events = await first_event(request, self._backend, parsed.message)
            response = ResponseEvents(first.started, parsed.asked, logprobs=parsed.message.logprobs)
            if parsed.stream:
                writer = ResponseStream(response)
                return stream_response(writer, events, headers=headers, keepalive_s=self._keepalive_s)
            async with aclosing(events):
                await unless_disconnected(request, _take_all(events, response))
        except TokenwireError as error:
            raise parsed.in_body_terms(error) from None
        return JSONResponse(response.last()["response"], headers=headers)


async def _take_all(events: AsyncIterator[ChatCompletionEvent], response: ResponseEvents) -> None:
    async for event in events:
        for _ in response.events(event):
            pass
