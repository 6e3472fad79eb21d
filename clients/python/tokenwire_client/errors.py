"""The errors that a call can raise, and how they are read out of a gRPC status and its rich details.

TokenwireClientError              any failed call; `code` and `reason` tell which where no class does
├── InvalidRequestError           fields break their rules; `violations` has every one
│   ├── ConstraintInvalidError    a schema or grammar cannot be enforced
│   └── ContextLengthError        prompt and answer do not fit the context
├── ModelNotFoundError            no such model is served
├── CompletionNotFoundError       no such completion is stored, live or retained
├── ConstraintFailedError         a constrained answer cannot go on
├── RequestIdConflictError        the request id is in use for another request
├── ResumeWindowError             events are asked that are not kept any more
├── AuthenticationError           no key, or an unknown one
│   └── ForbiddenError            the key does not allow it
├── ResourceExhaustedError        a message over the size limit, or one of these
│   ├── RateLimitedError          the rate or concurrency of the key is used up; carries `retry_after_s`
│   └── SlowConsumerError         the stream was read too slowly
├── UnavailableError              not reachable, the connection broke, or one of these; may carry `retry_after_s`
│   ├── QueueFullError            too many requests wait
│   ├── QueueTimeoutError         `max_queue_time` was over before the generation began
│   ├── DeadlineUnattainableError   the generation cannot begin before the deadline: another server may do it
│   ├── ModelLoadingError         the model is not loaded yet
│   └── DrainingError             the server is shutting down
├── DeadlineExceededError         `timeout_s` is over
├── CallCancelledError            the call was cancelled on the way or by the server
│   └── CompletionCancelledError  somebody has cancelled the completion
├── EngineFaultError              the engine failed while it worked on the completion
└── BrokenStreamError             the stream broke its grammar, or ended without `completed`
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tokenwire.stream import StreamGrammarError


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks its rule: its path in the contract (`messages[0].role`) and what is wrong with it.

    Or a limit that is used up: whose and which (`key:alice/requests_per_minute`).
    """

    field: str
    description: str


class TokenwireClientError(Exception):
    """A call failed. `str(error)` is the server's message."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        """Name of the contract's `ErrorReason` without its prefix (`QUEUE_FULL`); empty if the server gave none."""
        self.metadata: Mapping[str, str] = metadata or {}
        """Machine-readable facts, such as `prompt_tokens`."""
        self.retry_after_s = retry_after_s
        """Seconds after which the server suggests to try again; None if it does not."""
        self.violations = violations
        """The fields that break their rules; of a `RateLimitedError` the limits that are used up."""


class InvalidRequestError(TokenwireClientError):
    """Fields break their rules."""


class ConstraintInvalidError(InvalidRequestError):
    """A schema or grammar cannot be enforced; `violations` names the field, and what of it and why."""


class ContextLengthError(InvalidRequestError):
    """Prompt and answer do not fit the context; `metadata` has `prompt_tokens` and `context_length`."""


class ModelNotFoundError(TokenwireClientError):
    """No such model is served."""


class CompletionNotFoundError(TokenwireClientError):
    """No such completion is stored, live or retained, or it is another caller's."""


class ConstraintFailedError(TokenwireClientError):
    """A constrained answer cannot go on, for other parameters ban all that it allows, or its grammar is too complex."""


class RequestIdConflictError(TokenwireClientError):
    """The `request_id` is in use for a request with another body."""


class ResumeWindowError(TokenwireClientError):
    """Events after the given sequence are not kept any more; `metadata` has `first_sequence`, the first one kept."""


class AuthenticationError(TokenwireClientError):
    """No API key, or one that is not known."""


class ForbiddenError(AuthenticationError):
    """The API key does not allow this model, or this call."""


class ResourceExhaustedError(TokenwireClientError):
    """A message over the size limit, or a limit of the caller's."""


class RateLimitedError(ResourceExhaustedError):
    """The rate or concurrency of the API key is used up: `violations` tells which; try again after `retry_after_s`."""


class SlowConsumerError(ResourceExhaustedError):
    """The stream was read too slowly. `metadata` has `completion_id` and `last_sequence`: a completion that detaches
    can be resumed after the last sequence that was received."""


class UnavailableError(TokenwireClientError):
    """Not reachable, or the connection broke in the middle of an answer; a subclass where the server has refused.

    gRPC has tried again already where nothing of the answer had come and the server had not forbidden it.
    """


class QueueFullError(UnavailableError):
    """Too many requests wait."""


class QueueTimeoutError(UnavailableError):
    """`max_queue_time` was over before the generation began."""


class DeadlineUnattainableError(UnavailableError):
    """The generation cannot begin before the deadline of the call: to try again here is of no use.

    `metadata` has `estimated_wait_ms` and `time_left_ms`.
    """


class ModelLoadingError(UnavailableError):
    """The model is not loaded yet."""


class DrainingError(UnavailableError):
    """The server is shutting down."""


class DeadlineExceededError(TokenwireClientError):
    """The time given by `timeout_s` is over."""


class CallCancelledError(TokenwireClientError):
    """The call was cancelled on the way or by the server."""


class CompletionCancelledError(CallCancelledError):
    """Somebody has cancelled the completion; `metadata` has `completion_id`."""


class EngineFaultError(TokenwireClientError):
    """The engine failed while it worked on the completion."""


class BrokenStreamError(TokenwireClientError):
    """The stream broke its grammar, or ended without `completed`: a defect of the server."""


_BY_REASON: Mapping[str, type[TokenwireClientError]] = {
    "CONTEXT_LENGTH_EXCEEDED": ContextLengthError,
    "MODEL_NOT_FOUND": ModelNotFoundError,
    "COMPLETION_NOT_FOUND": CompletionNotFoundError,
    "CONSTRAINT_INVALID": ConstraintInvalidError,
    "CONSTRAINT_FAILED": ConstraintFailedError,
    "REQUEST_ID_CONFLICT": RequestIdConflictError,
    "RESUME_WINDOW_EXPIRED": ResumeWindowError,
    "RATE_LIMITED": RateLimitedError,
    "SLOW_CONSUMER": SlowConsumerError,
    "QUEUE_FULL": QueueFullError,
    "QUEUE_TIMEOUT": QueueTimeoutError,
    "DEADLINE_UNATTAINABLE": DeadlineUnattainableError,
    "MODEL_LOADING": ModelLoadingError,
    "DRAINING": DrainingError,
    "COMPLETION_CANCELLED": CompletionCancelledError,
    "ENGINE_FAULT": EngineFaultError,
}
_BY_CODE: Mapping[grpc.StatusCode, type[TokenwireClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
}


@contextmanager
def client_errors() -> Iterator[None]:
    """Raise what gRPC and the grammar checker raise inside as a `TokenwireClientError`."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
    except StreamGrammarError as error:
        raise BrokenStreamError(str(error), code=grpc.StatusCode.INTERNAL) from error


def from_rpc_error(error: grpc.RpcError) -> TokenwireClientError:
    """The typed error of a failed call. A reason that this client does not know still gives the class of its code."""
    code = error.code()
    details = _read_details(error)
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code, TokenwireClientError)
    return kind(
        error.details() or code.name,
        code=code,
        reason=details.reason,
        metadata=details.metadata,
        retry_after_s=details.retry_after_s,
        violations=details.violations,
    )


@dataclass(slots=True)
class _Details:
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    violations: tuple[FieldViolation, ...] = ()


def _read_details(error: grpc.RpcError) -> _Details:
    details = _Details()
    for packed in _rich_status(error).details:
        with suppress(DecodeError):  # the others, and the status, may be good
            _read_detail(packed, details)
    return details


def _read_detail(packed: Any, details: _Details) -> None:
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    quota = error_details_pb2.QuotaFailure()
    if packed.Unpack(info):
        details.reason = info.reason
        details.metadata = dict(info.metadata)
    elif packed.Unpack(retry):
        details.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    elif packed.Unpack(bad_request):
        found = bad_request.field_violations
        details.violations = tuple(FieldViolation(violation.field, violation.description) for violation in found)
    elif packed.Unpack(quota):
        details.violations = tuple(FieldViolation(limit.subject, limit.description) for limit in quota.violations)


def _rich_status(error: grpc.RpcError) -> status_pb2.Status:
    """The `google.rpc.Status` of a call; an empty one where there is none, or none that fits the plain status."""
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()
