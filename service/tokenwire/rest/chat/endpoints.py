"""The endpoints of chat completions."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from tokenwire.chat.caller import CURRENT
from tokenwire.errors import InvalidRequestError
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BodyReader, unless_disconnected
from tokenwire.rest.chat.answers import completion_json, stored_json
from tokenwire.rest.chat.chunks import ChunkWriter
from tokenwire.rest.chat.requests import ParsedRequest, parse_chat_request
from tokenwire.rest.chat.text_chunks import TextChunks
from tokenwire.rest.ignored import UnknownFields
from tokenwire.rest.sse import first_event, stream_response
from tokenwire.v1.chat_pb2 import GetChatCompletionRequest


class ChatEndpoints:
    """One method a route."""

    def __init__(
        self, backend: ChatBackend, *, read_body: BodyReader, unknown_fields: UnknownFields, keepalive_s: float
    ) -> None:
        self._backend = backend
        self._read_body = read_body
        self._unknown_fields = unknown_fields
        self._keepalive_s = keepalive_s

    async def create(self, request: Request) -> Response | ASGIApp:
        """POST /v1/chat/completions."""
        parsed = parse_chat_request(await self._read_body(request))
        headers = self._unknown_fields(parsed.ignored_fields)
        try:
            if parsed.stream:
                return await self._stream(request, parsed, headers)
            completion = await unless_disconnected(request, self._backend.create(parsed.message, caller=CURRENT.get()))
        except InvalidRequestError as error:
            raise parsed.in_json_terms(error) from None
        answer = completion_json(
            completion,
            logprobs=parsed.message.logprobs,
            prompt_logprobs=parsed.message.HasField("prompt_logprobs"),
        )
        return JSONResponse(answer, headers=headers)

    async def _stream(self, request: Request, parsed: ParsedRequest, headers: dict[str, str]) -> ASGIApp:
        first, events = await first_event(request, self._backend, parsed.message)
        writer = TextChunks(ChunkWriter(first.started, include_usage=parsed.include_usage))
        return stream_response(writer, events, headers=headers, keepalive_s=self._keepalive_s)

    async def get(self, request: Request) -> Response:
        """GET /v1/chat/completions/{id}: a stored completion."""
        asked = GetChatCompletionRequest(completion_id=request.path_params["completion_id"])
        return JSONResponse(stored_json(await self._backend.get_chat_completion(asked, caller=CURRENT.get())))
