"""The endpoint of legacy completions."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from tokenwire.chat.caller import CURRENT
from tokenwire.errors import TokenwireError
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BodyReader, unless_disconnected
from tokenwire.rest.completions.answers import Echo, completion_json
from tokenwire.rest.completions.chunks import CompletionChunks
from tokenwire.rest.completions.merged import Events, MergedStreams, close
from tokenwire.rest.completions.requests import ParsedCompletion, parse_completion_request
from tokenwire.rest.ignored import UnknownFields
from tokenwire.rest.sse import ChunkStream, first_event, stream_response
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest
from tokenwire.v1.tokens_pb2 import DetokenizeRequest

T = TypeVar("T")


class CompletionEndpoints:
    """One method a route."""

    def __init__(
        self, backend: ChatBackend, *, read_body: BodyReader, unknown_fields: UnknownFields, keepalive_s: float
    ) -> None:
        self._backend = backend
        self._read_body = read_body
        self._unknown_fields = unknown_fields
        self._keepalive_s = keepalive_s

    async def create(self, request: Request) -> Response | ASGIApp:
        """POST /v1/completions. Each prompt is a completion of its own; all run at once."""
        parsed = parse_completion_request(await self._read_body(request))
        headers = self._unknown_fields(parsed.ignored_fields)
        echoes: list[Echo | None] = [None] * len(parsed.messages)
        if parsed.echo:
            echoes = await unless_disconnected(request, _each(parsed, map(self._echo, parsed.messages)))
        if parsed.stream:
            return await self._stream(request, parsed, echoes, headers)
        calls = (self._backend.create(message, caller=CURRENT.get()) for message in parsed.messages)
        completions = await unless_disconnected(request, _each(parsed, calls))
        return JSONResponse(completion_json(parsed, completions, echoes), headers=headers)

    async def _stream(
        self, request: Request, parsed: ParsedCompletion, echoes: list[Echo | None], headers: dict[str, str]
    ) -> ASGIApp:
        opened = await self._open(request, parsed)
        writer = ChunkStream(CompletionChunks(parsed, opened[0][0].started, echoes))
        events = MergedStreams([events for _, events in opened])
        return stream_response(writer, events, headers=headers, keepalive_s=self._keepalive_s)

    async def _open(self, request: Request, parsed: ParsedCompletion) -> list[tuple[ChatCompletionEvent, Events]]:
        """All streams, each with its first event. If one is refused all are closed."""
        opened: list[tuple[ChatCompletionEvent, Events]] = []

        async def open_one(message: ChatCompletionRequest) -> tuple[ChatCompletionEvent, Events]:
            opened.append(both := await first_event(request, self._backend, message))
            return both

        try:
            return await _each(parsed, map(open_one, parsed.messages))
        except BaseException:
            await close([events for _, events in opened])
            raise

    async def _echo(self, message: ChatCompletionRequest) -> Echo | None:
        """The prompt as text, and its first token."""
        rendered = await self._backend.render_prompt(message, caller=CURRENT.get())
        asked = DetokenizeRequest(model=message.model, token_ids=rendered.token_ids[:1])
        first = await self._backend.detokenize(asked, caller=CURRENT.get())
        return Echo(rendered.prompt, first.text)


async def _each(parsed: ParsedCompletion, calls: Iterable[Awaitable[T]]) -> list[T]:
    """All at once; the first error ends the others, and is told in terms of the body."""

    async def of_prompt(prompt: int, call: Awaitable[T]) -> T:
        try:
            return await call
        except TokenwireError as error:
            raise parsed.in_json_terms(error, prompt) from None

    tasks = [asyncio.ensure_future(of_prompt(prompt, call)) for prompt, call in enumerate(calls)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
