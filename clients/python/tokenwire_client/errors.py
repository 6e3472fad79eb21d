"""The errors that a call can raise, and how they are read out of a gRPC status and its rich details.

TokenwireClientError          any failed call; `code` and `reason` tell which where no class does
├── InvalidRequestError       fields break their rules; `violations` has every one
│   ├── ConstraintInvalidError  a schema or grammar cannot be enforced
│   └── ContextLengthError    prompt and answer do not fit the context
├── ModelNotFoundError        no such model is served
├── CompletionNotFoundError   no such completion is stored
├── ConstraintFailedError     a constrained answer cannot go on
├── AuthenticationError       no key, a wrong one, or one that may not do this
├── ResourceExhaustedError    a message over the size limit, or a quota
├── UnavailableError          not reachable, loading, full or draining; carries `retry_after_s`
├── DeadlineExceededError     `timeout_s` is over
├── CallCancelledError        the call was cancelled on the way or by the server
├── EngineFaultError          the engine failed while it worked on the completion
└── BrokenStreamError         the stream broke its grammar, or ended without `completed`
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from tokenwire.stream import StreamGrammarError


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks its rule: its path in the contract (`messages[0].role`) and what is wrong with it."""

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


class InvalidRequestError(TokenwireClientError):
    """Fields break their rules."""


class ConstraintInvalidError(InvalidRequestError):
    """A schema or grammar cannot be enforced; `violations` names the field, and what of it and why."""


class ContextLengthError(InvalidRequestError):
    """Prompt and answer do not fit the context; `metadata` has `prompt_tokens` and `context_length`."""


class ModelNotFoundError(TokenwireClientError):
    """No such model is served."""


class CompletionNotFoundError(TokenwireClientError):
    """No such completion is stored, or it is gone."""


class ConstraintFailedError(TokenwireClientError):
    """A constrained answer cannot go on, for other parameters ban all that it allows, or its grammar is too complex."""


class AuthenticationError(TokenwireClientError):
    """No key, a wrong one, or one that may not do this."""


class ResourceExhaustedError(TokenwireClientError):
    """A message over the size limit, or a quota."""


class UnavailableError(TokenwireClientError):
    """Not reachable, loading, full or draining; or the connection broke in the middle of an answer.

    gRPC has tried again already where nothing of the answer had come.
    """


class DeadlineExceededError(TokenwireClientError):
    """The time given by `timeout_s` is over."""


class CallCancelledError(TokenwireClientError):
    """The call was cancelled on the way or by the server."""


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
    "ENGINE_FAULT": EngineFaultError,
}
_BY_CODE: Mapping[grpc.StatusCode, type[TokenwireClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationError,
    grpc.StatusCode.PERMISSION_DENIED: AuthenticationError,
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
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad_request = error_details_pb2.BadRequest()
        if packed.Unpack(info):
            details.reason = info.reason
            details.metadata = dict(info.metadata)
        elif packed.Unpack(retry):
            details.retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        elif packed.Unpack(bad_request):
            found = bad_request.field_violations
            details.violations = tuple(FieldViolation(violation.field, violation.description) for violation in found)
    return details


def _rich_status(error: grpc.RpcError) -> status_pb2.Status:
    """The `google.rpc.Status` of a call; an empty one where there is none, or none that fits the plain status."""
    try:
        return rpc_status.from_call(error) or status_pb2.Status()
    except (ValueError, DecodeError):
        return status_pb2.Status()
