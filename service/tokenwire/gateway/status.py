"""A gRPC status → the error that the service raised, so that REST tells it as the service itself would."""

from collections.abc import Mapping
from http import HTTPStatus

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from tokenwire.error_table import CLIENT_CLOSED_REQUEST, ERROR_TABLE, ErrorKind
from tokenwire.errors import ConstraintInvalidError, InvalidRequestError, TokenwireError, Violation
from tokenwire.rpc.status import DETAILS_KEY
from tokenwire.v1.errors_pb2 import ErrorReason

UNREACHABLE_RETRY_S = 1.0

# Of statuses without a reason that is known: from gRPC itself, a proxy, or a newer server.
_HTTP_STATUSES: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.CANCELLED: CLIENT_CLOSED_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


class RemoteError(TokenwireError):
    """What the service, or the way to it, answered."""

    def __init__(
        self,
        message: str,
        *,
        reason: "ErrorReason.ValueType",
        kind: ErrorKind,
        retry_after_s: float | None,
        metadata: Mapping[str, str],
    ) -> None:
        super().__init__(message)
        self.reason = reason  # type: ignore[misc]  # of this instance
        self.retry_after_s = retry_after_s
        self._kind = kind
        self._metadata = metadata

    @property
    def kind(self) -> ErrorKind:
        """The row of the error table, or one made from the status where the reason is not known."""
        return self._kind

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._metadata


def error_of(failure: grpc.RpcError) -> TokenwireError:
    """The error of a failed call."""
    assert isinstance(failure, grpc.aio.AioRpcError)
    code, message = failure.code(), failure.details() or ""
    info, violations, retry_after_s = _details(failure)
    reason = _reason(info)
    if violations and reason == ErrorReason.ERROR_REASON_FIELD_INVALID:
        return InvalidRequestError(violations)
    if violations and reason == ErrorReason.ERROR_REASON_CONSTRAINT_INVALID:
        return ConstraintInvalidError(violations)
    if reason in ERROR_TABLE:
        kind = ERROR_TABLE[reason]
    else:
        kind = _kind(code, info.reason)
        if code is grpc.StatusCode.UNAVAILABLE and not info.reason:
            retry_after_s = UNREACHABLE_RETRY_S
            message = f"the service behind this gateway cannot be reached: {message}"
    return RemoteError(message, reason=reason, kind=kind, retry_after_s=retry_after_s, metadata=dict(info.metadata))


def _kind(code: grpc.StatusCode, reason: str) -> ErrorKind:
    http_status = _HTTP_STATUSES.get(code, HTTPStatus.BAD_GATEWAY)
    openai_type = "server_error" if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return ErrorKind(code, http_status, openai_type, reason.lower() or None)


def _reason(info: ErrorInfo) -> "ErrorReason.ValueType":
    try:
        return ErrorReason.Value(f"ERROR_REASON_{info.reason}")
    except ValueError:
        return ErrorReason.ERROR_REASON_UNSPECIFIED


def _details(failure: grpc.aio.AioRpcError) -> tuple[ErrorInfo, list[Violation], float | None]:
    """Reason, violations and the delay of a retry, where they are told."""
    info, violations, retry_after_s = ErrorInfo(), list[Violation](), None
    bad_request, retry = BadRequest(), RetryInfo()
    for detail in _status(failure).details:
        if detail.Unpack(info):
            continue
        if detail.Unpack(bad_request):
            violations = [
                Violation(violation.field, violation.description, violation.reason.lower() or "invalid_value")
                for violation in bad_request.field_violations
            ]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return info, violations, retry_after_s


def _status(failure: grpc.aio.AioRpcError) -> Status:
    for name, value in failure.trailing_metadata() or ():
        if name == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:  # of a proxy, perhaps: the code and the message are still good
                break
    return Status()
