"""The HTTP application: routes of the OpenAI API onto a chat service, here or behind gRPC."""

from collections.abc import Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from tokenwire.chat.call import CallObserver
from tokenwire.rest.backend import ChatBackend
from tokenwire.rest.body import BODY_TIMEOUT_S, BodyReader, read_json_object
from tokenwire.rest.callers import CallerMiddleware, RequestIdMiddleware
from tokenwire.rest.chat.endpoints import ChatEndpoints
from tokenwire.rest.completions.endpoints import CompletionEndpoints
from tokenwire.rest.cors import allow_origins
from tokenwire.rest.errors import EXCEPTION_HANDLERS
from tokenwire.rest.ignored import UnknownFields, ignored_fields_headers, refuse_ignored_fields
from tokenwire.rest.lookups import LookupEndpoints
from tokenwire.rest.metrics import MetricsEndpoint, Render
from tokenwire.rest.observed import CallMiddleware
from tokenwire.rest.openapi import OpenApiEndpoint
from tokenwire.rest.playground.endpoints import DEFAULT_GRPC_PORT, PlaygroundEndpoints
from tokenwire.rest.responses.endpoints import ResponseEndpoints
from tokenwire.rest.tokens import TokenEndpoints
from tokenwire.security.access import ANYBODY, Access


def create_app(
    backend: ChatBackend,
    *,
    max_body_bytes: int,
    body_timeout_s: float = BODY_TIMEOUT_S,
    keepalive_s: float = 15.0,
    access: Access = ANYBODY,
    observers: Sequence[CallObserver] = (),
    cors_origins: Sequence[str] = (),
    strict_fields: bool = False,
    playground: bool = True,
    grpc_port: int = DEFAULT_GRPC_PORT,
    metrics: Render | None = None,
) -> ASGIApp:
    """The application. Bodies over `max_body_bytes`, and those that take longer than `body_timeout_s`, are refused;
    quiet streams carry a comment each `keepalive_s`; pages of `cors_origins` may call;
    with `strict_fields` those that nobody knows are refused;
    `playground` is the page at `/`, which also tells how to call over gRPC, at `grpc_port`;
    `metrics` is what `/metrics` tells, if anything."""
    routes = create_routes(
        backend,
        read_body=partial(read_json_object, max_bytes=max_body_bytes, timeout_s=body_timeout_s),
        unknown_fields=refuse_ignored_fields if strict_fields else ignored_fields_headers,
        keepalive_s=keepalive_s,
        metrics=metrics,
    )
    if playground:
        routes += PlaygroundEndpoints(grpc_port).routes
    router = Starlette(
        routes=routes, middleware=[Middleware(CallerMiddleware, access=access)], exception_handlers=EXCEPTION_HANDLERS
    )
    router.router.redirect_slashes = False  # a redirect would answer without an error object
    app = allow_origins(router, cors_origins) if cors_origins else router
    return RequestIdMiddleware(CallMiddleware(app, paths=[route.path for route in routes], observers=observers))


def create_routes(
    backend: ChatBackend,
    *,
    read_body: BodyReader,
    unknown_fields: UnknownFields,
    keepalive_s: float,
    metrics: Render | None,
) -> list[Route]:
    """The routes of the API, without the page at `/`."""
    chat = ChatEndpoints(backend, read_body=read_body, unknown_fields=unknown_fields, keepalive_s=keepalive_s)
    completions = CompletionEndpoints(
        backend, read_body=read_body, unknown_fields=unknown_fields, keepalive_s=keepalive_s
    )
    responses = ResponseEndpoints(backend, read_body=read_body, unknown_fields=unknown_fields, keepalive_s=keepalive_s)
    lookups, tokens = (
        LookupEndpoints(backend),
        TokenEndpoints(backend, read_body=read_body, unknown_fields=unknown_fields),
    )
    routes = [
        Route("/v1/chat/completions", chat.create, methods=["POST"]),
        Route("/v1/chat/completions/{completion_id}", chat.get),
        Route("/v1/completions", completions.create, methods=["POST"]),
        Route("/v1/responses", responses.create, methods=["POST"]),
        Route("/v1/models", lookups.list_models),
        Route("/v1/models/{model:path}", lookups.get_model),
        Route("/tokenize", tokens.tokenize, methods=["POST"]),
        Route("/detokenize", tokens.detokenize, methods=["POST"]),
        Route("/health", lookups.health),
        Route("/openapi.json", OpenApiEndpoint().get),
    ]
    return routes if metrics is None else [*routes, Route("/metrics", MetricsEndpoint(metrics).get)]
