"""Errors → HTTP answers. Every one is the OpenAI error object with all four keys."""

import logging
import math
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from tokenwire.chat.call import note_error
from tokenwire.error_table import CLIENT_CLOSED_REQUEST
from tokenwire.errors import InternalError, InvalidRequestError, TokenwireError
from tokenwire.v1.errors_pb2 import ErrorReason

_logger = logging.getLogger(__name__)

_MAX_VIOLATIONS = 16  # as many as a gRPC status tells
_MAX_MESSAGE = 8192
"""Characters of a message: it may quote what the caller sent."""

# What the HTTP layer itself refuses.
_HTTP_CODES: Mapping[int, str] = {
    404: "unknown_url",
    405: "method_not_supported",
    408: "request_timeout",
    413: "request_too_large",
}

# Of errors that have no violations.
_PARAMS: Mapping["ErrorReason.ValueType", str] = {
    ErrorReason.ERROR_REASON_MODEL_NOT_FOUND: "model",
    ErrorReason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: "messages",
}


def error_json(error: TokenwireError) -> dict[str, object]:
    """The error object. It is noted that the request fails with it."""
    note_error(error)
    message, param, code = str(error), _PARAMS.get(error.reason), error.kind.openai_code
    if isinstance(error, InvalidRequestError):
        message = _list_violations(error)
        param, code = error.violations[0].field, error.violations[0].code
    return _error_object(message, kind=error.kind.openai_type, param=param, code=code)


def told(exc: Exception) -> TokenwireError:
    """The error that the caller is told. A defect is logged, and its text is kept from the caller."""
    if isinstance(exc, TokenwireError):
        return exc
    _logger.error("defect while answering a request", exc_info=exc)
    return InternalError()


def error_response(error: TokenwireError) -> JSONResponse:
    """The answer that tells an error."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.reason == ErrorReason.ERROR_REASON_BAD_API_KEY:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_json(error), error.kind.http_status, headers=headers)


def _error_object(message: str, *, kind: str, param: str | None, code: str | None) -> dict[str, object]:
    shown = message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…"
    return {"error": {"message": shown, "type": kind, "param": param, "code": code}}


def _list_violations(error: InvalidRequestError) -> str:
    descriptions = [violation.description for violation in error.violations]
    left_out = len(descriptions) - _MAX_VIOLATIONS
    more = f"; and {left_out} more" if left_out > 0 else ""
    return "; ".join(descriptions[:_MAX_VIOLATIONS]) + more


async def _on_tokenwire_error(request: Request, exc: Exception) -> Response:
    return error_response(told(exc))


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    code = _HTTP_CODES.get(exc.status_code)
    message = f"{request.method} {request.url.path}: {exc.detail}"
    body = _error_object(message, kind="invalid_request_error", param=None, code=code)
    return JSONResponse(body, exc.status_code, headers=exc.headers)


async def _on_defect(request: Request, exc: Exception) -> Response:
    """Starlette raises `exc` again, so that the server logs it."""
    return error_response(InternalError())


async def _on_disconnect(request: Request, exc: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody reads it


EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    TokenwireError: _on_tokenwire_error,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
    Exception: _on_defect,
}
