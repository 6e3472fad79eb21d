"""The HTTP application: routes of the OpenAI API onto a chat service, here or behind gRPC."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import quote

from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tokenwire.chat.call import CallObserver
from tokenwire.chat.caller import CURRENT
from tokenwire.errors import InvalidRequestError
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BODY_TIMEOUT_S, read_json_object, unless_disconnected
from tokenwire.rest.callers import CallerMiddleware
from tokenwire.rest.chunks import ChunkWriter
from tokenwire.rest.connections import ABORT_KEY
from tokenwire.rest.errors import EXCEPTION_HANDLERS
from tokenwire.rest.observed import CallMiddleware
from tokenwire.rest.requests import ParsedRequest, parse_chat_request
from tokenwire.rest.responses import completion_json, model_json, stored_json
from tokenwire.rest.sse import stream_response
from tokenwire.security.access import ANYBODY, Access
from tokenwire.v1.chat_pb2 import GetChatCompletionRequest
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest

_logger = logging.getLogger(__name__)

IGNORED_FIELDS_HEADER = "x-tokenwire-ignored-fields"
_MAX_IGNORED_SHOWN = 16


def create_app(
    backend: ChatBackend,
    *,
    max_body_bytes: int,
    body_timeout_s: float = BODY_TIMEOUT_S,
    keepalive_s: float = 15.0,
    access: Access = ANYBODY,
    observers: Sequence[CallObserver] = (),
) -> Starlette:
    """The application. Bodies over `max_body_bytes`, and those that take longer than `body_timeout_s`, are refused;
    quiet streams carry a comment each `keepalive_s`."""
    # sse-starlette would cut every stream at the first SIGTERM; the service drains, which lets them finish.
    AppStatus.enable_automatic_graceful_drain = False
    logging.getLogger("sse_starlette").setLevel(logging.INFO)  # below that it logs every chunk of every answer
    endpoints = _Endpoints(
        backend,
        read_body=partial(read_json_object, max_bytes=max_body_bytes, timeout_s=body_timeout_s),
        keepalive_s=keepalive_s,
    )
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", endpoints.create_chat_completion, methods=["POST"]),
            Route("/v1/chat/completions/{completion_id}", endpoints.get_chat_completion),
            Route("/v1/models", endpoints.list_models),
            Route("/v1/models/{model:path}", endpoints.get_model),
            Route("/health", endpoints.health),
        ],
        middleware=[Middleware(CallMiddleware, observers=observers), Middleware(CallerMiddleware, access=access)],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would answer without an error object
    return app


class _Endpoints:
    """One method a route."""

    def __init__(
        self,
        backend: ChatBackend,
        *,
        read_body: Callable[[Request], Awaitable[dict[str, object]]],
        keepalive_s: float,
    ) -> None:
        self._backend = backend
        self._read_body = read_body
        self._keepalive_s = keepalive_s

    async def create_chat_completion(self, request: Request) -> Response | ASGIApp:
        """POST /v1/chat/completions."""
        parsed = parse_chat_request(await self._read_body(request))
        headers = _ignored_fields_headers(parsed.ignored_fields)
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
        """Wait for the first event, so that a refusal is a plain HTTP error."""
        abort = request.scope[ABORT_KEY]  # a client that reads too slowly is told nothing: it would not read that, too
        events = self._backend.stream(parsed.message, caller=CURRENT.get(), on_slow=lambda error: abort())
        try:
            first = await unless_disconnected(request, anext(events))
        except BaseException:  # also where the client left: the generation ends at once
            await events.aclose()
            raise
        writer = ChunkWriter(first.started, include_usage=parsed.include_usage)
        return stream_response(writer, events, headers=headers, keepalive_s=self._keepalive_s)

    async def get_chat_completion(self, request: Request) -> Response:
        """GET /v1/chat/completions/{id}: a stored completion."""
        asked = GetChatCompletionRequest(completion_id=request.path_params["completion_id"])
        return JSONResponse(stored_json(await self._backend.get_chat_completion(asked, caller=CURRENT.get())))

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models."""
        listed = await self._backend.list_models(ListModelsRequest(), caller=CURRENT.get())
        return JSONResponse({"object": "list", "data": [model_json(model) for model in listed.models]})

    async def get_model(self, request: Request) -> Response:
        """GET /v1/models/{id}; an id may have slashes, raw or escaped."""
        asked = GetModelRequest(model=request.path_params["model"])
        return JSONResponse(model_json(await self._backend.get_model(asked, caller=CURRENT.get())))

    async def health(self, request: Request) -> Response:
        """GET /health: 200 if completions are accepted, else 503."""
        refusal = await self._backend.refusal()
        return JSONResponse({"status": refusal or "ok"}, 503 if refusal else 200)


def _ignored_fields_headers(paths: Sequence[str]) -> dict[str, str]:
    """Tell the operator and the caller about fields that nobody knows."""
    if not paths:
        return {}
    names = [quote(path[:100], safe="[]", errors="backslashreplace") for path in paths[:_MAX_IGNORED_SHOWN]]
    if len(paths) > len(names):
        names.append(f"and {len(paths) - len(names)} more")
    listed = ", ".join(names)
    _logger.info("ignored fields that are not known: %s", listed)
    return {IGNORED_FIELDS_HEADER: listed}
