"""The one table that gives each reason of an error its gRPC code, and its status and names over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import grpc

from tokenwire.v1.errors_pb2 import ErrorReason


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How one reason is told over gRPC and over HTTP."""

    grpc_code: grpc.StatusCode
    http_status: int
    openai_type: str
    openai_code: str | None


_BAD_REQUEST = "invalid_request_error"
_SERVER = "server_error"
CLIENT_CLOSED_REQUEST = 499
"""nginx's number, which has become the custom."""

ERROR_TABLE: Mapping["ErrorReason.ValueType", ErrorKind] = {
    ErrorReason.ERROR_REASON_FIELD_INVALID: ErrorKind(
        grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, _BAD_REQUEST, "invalid_value"
    ),
    ErrorReason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED: ErrorKind(
        grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, _BAD_REQUEST, "context_length_exceeded"
    ),
    ErrorReason.ERROR_REASON_MALFORMED_MESSAGE: ErrorKind(
        grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, _BAD_REQUEST, None
    ),
    ErrorReason.ERROR_REASON_MODEL_NOT_FOUND: ErrorKind(
        grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND, _BAD_REQUEST, "model_not_found"
    ),
    ErrorReason.ERROR_REASON_QUEUE_FULL: ErrorKind(
        grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, "queue_full"
    ),
    ErrorReason.ERROR_REASON_MODEL_LOADING: ErrorKind(
        grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, "model_loading"
    ),
    ErrorReason.ERROR_REASON_DRAINING: ErrorKind(
        grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, "draining"
    ),
    ErrorReason.ERROR_REASON_ENGINE_FAULT: ErrorKind(
        grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER, "engine_fault"
    ),
    ErrorReason.ERROR_REASON_CONSTRAINT_INVALID: ErrorKind(
        grpc.StatusCode.INVALID_ARGUMENT, HTTPStatus.BAD_REQUEST, _BAD_REQUEST, "invalid_value"
    ),
    ErrorReason.ERROR_REASON_CONSTRAINT_FAILED: ErrorKind(
        grpc.StatusCode.FAILED_PRECONDITION, HTTPStatus.UNPROCESSABLE_ENTITY, _BAD_REQUEST, "constraint_failed"
    ),
    ErrorReason.ERROR_REASON_COMPLETION_NOT_FOUND: ErrorKind(
        grpc.StatusCode.NOT_FOUND, HTTPStatus.NOT_FOUND, _BAD_REQUEST, "completion_not_found"
    ),
    ErrorReason.ERROR_REASON_DEADLINE_UNATTAINABLE: ErrorKind(
        grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, "deadline_unattainable"
    ),
    ErrorReason.ERROR_REASON_QUEUE_TIMEOUT: ErrorKind(
        grpc.StatusCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, _SERVER, "queue_timeout"
    ),
    ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED: ErrorKind(
        grpc.StatusCode.DEADLINE_EXCEEDED, HTTPStatus.GATEWAY_TIMEOUT, _SERVER, "deadline_exceeded"
    ),
    ErrorReason.ERROR_REASON_COMPLETION_CANCELLED: ErrorKind(
        grpc.StatusCode.CANCELLED, CLIENT_CLOSED_REQUEST, _BAD_REQUEST, "completion_cancelled"
    ),
    ErrorReason.ERROR_REASON_REQUEST_ID_CONFLICT: ErrorKind(
        # The SDKs of OpenAI try a 409 again.
        grpc.StatusCode.ALREADY_EXISTS,
        HTTPStatus.BAD_REQUEST,
        _BAD_REQUEST,
        "request_id_conflict",
    ),
    ErrorReason.ERROR_REASON_RESUME_WINDOW_EXPIRED: ErrorKind(
        grpc.StatusCode.OUT_OF_RANGE, HTTPStatus.GONE, _BAD_REQUEST, "resume_window_expired"
    ),
    ErrorReason.ERROR_REASON_SLOW_CONSUMER: ErrorKind(
        grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS, _BAD_REQUEST, "slow_consumer"
    ),
    ErrorReason.ERROR_REASON_BAD_API_KEY: ErrorKind(
        grpc.StatusCode.UNAUTHENTICATED, HTTPStatus.UNAUTHORIZED, _BAD_REQUEST, "invalid_api_key"
    ),
    ErrorReason.ERROR_REASON_MODEL_FORBIDDEN: ErrorKind(
        grpc.StatusCode.PERMISSION_DENIED, HTTPStatus.FORBIDDEN, _BAD_REQUEST, "model_forbidden"
    ),
    ErrorReason.ERROR_REASON_RATE_LIMITED: ErrorKind(
        grpc.StatusCode.RESOURCE_EXHAUSTED, HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded"
    ),
    ErrorReason.ERROR_REASON_INTERNAL: ErrorKind(
        grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER, None
    ),
}
