"""Turns a `TokenwireError` into a gRPC status: code, message and rich details in the trailers.

Trailers above 8 KiB turn at random into RESOURCE_EXHAUSTED on the way, so everything here is bounded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, ResourceInfo, RetryInfo
from google.rpc.status_pb2 import Status

from tokenwire.errors import (
    ERROR_DOMAIN,
    CompletionNotFoundError,
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitedError,
    TokenwireError,
    UnavailableError,
    Violation,
)

DETAILS_KEY = "grpc-status-details-bin"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

MAX_VIOLATIONS = 16
MAX_DETAILS_BYTES = 4096
# They and the rest (reason, domain, metadata of a few numbers) stay below MAX_DETAILS_BYTES together.
_MAX_MESSAGE_BYTES = 512
_MAX_VIOLATIONS_BYTES = 2816
_MAX_TEXT_BYTES = 256


@dataclass(frozen=True, slots=True)
class RpcStatus:
    """What `context.abort` takes."""

    code: grpc.StatusCode
    message: str
    trailers: tuple[tuple[str, str | bytes], ...]


def status_of(error: TokenwireError) -> RpcStatus:
    """The status of an error, with details of at most 16 violations and 4 KiB."""
    bad_request = _bad_request(error.violations) if isinstance(error, InvalidRequestError) else BadRequest()
    message, metadata = str(error), dict(error.metadata)
    if isinstance(error, InvalidRequestError):
        message = "; ".join(violation.description for violation in bad_request.field_violations)
        if left_out := len(error.violations) - len(bad_request.field_violations):
            message = f"{_cut(message, _MAX_MESSAGE_BYTES - 48)} (and {left_out} more violations)"
            metadata["violations_left_out"] = str(left_out)
    message = _cut(message, _MAX_MESSAGE_BYTES)
    details: list[Message] = [ErrorInfo(reason=error.reason_name, domain=ERROR_DOMAIN, metadata=metadata)]
    trailers: list[tuple[str, str | bytes]] = []
    match error:
        case InvalidRequestError():
            details.append(bad_request)
        case ModelNotFoundError():
            name = _cut(error.model, _MAX_TEXT_BYTES)
            details.append(ResourceInfo(resource_type="tokenwire.v1.Model", resource_name=name))
        case CompletionNotFoundError():
            name = _cut(error.completion_id, _MAX_TEXT_BYTES)
            details.append(ResourceInfo(resource_type="tokenwire.v1.ChatCompletion", resource_name=name))
        case UnavailableError(retry_after_s=None):
            trailers.append((PUSHBACK_KEY, "-1"))
        case UnavailableError(retry_after_s=float() | int() as retry_after_s):
            details.append(retry := _retry(retry_after_s))
            trailers.append((PUSHBACK_KEY, str(retry.retry_delay.ToMilliseconds())))
        case RateLimitedError():
            quota = QuotaFailure()
            quota.violations.add(subject=_cut(error.subject, _MAX_TEXT_BYTES), description=message)
            # No pushback: gRPC of Java would try again on it, whatever status codes its retry policy has.
            details += [quota, _retry(error.retry_after_s)]
    code = error.kind.grpc_code
    trailers.append((DETAILS_KEY, _serialized(code, message, details)))
    return RpcStatus(code, message, tuple(trailers))


def _retry(after_s: float) -> RetryInfo:
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(math.ceil(after_s * 1000))
    return retry


def _serialized(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> bytes:
    status = Status(code=Code.Value(code.name), message=message)
    for detail in details:
        status.details.add().Pack(detail)
    data: bytes = status.SerializeToString()
    return data


def _bad_request(violations: Sequence[Violation]) -> BadRequest:
    """As many violations, in order, as the limits allow; at least one."""
    bad_request = BadRequest()
    for violation in violations[:MAX_VIOLATIONS]:
        bad_request.field_violations.add(
            field=_cut(violation.field, _MAX_TEXT_BYTES),
            description=_cut(violation.description, _MAX_TEXT_BYTES),
            reason=violation.code.upper(),
        )
        if bad_request.ByteSize() > _MAX_VIOLATIONS_BYTES:
            del bad_request.field_violations[-1]
            break
    return bad_request


def _cut(text: str, max_bytes: int) -> str:
    """The text, or its beginning and `…`, in at most that many bytes of UTF-8."""
    data = text.encode(errors="replace")
    if len(data) <= max_bytes:
        return data.decode()
    return data[: max_bytes - len("…".encode())].decode(errors="ignore") + "…"
