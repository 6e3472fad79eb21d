"""The errors that a caller can get, and the one table that gives each its gRPC code and HTTP status.

TokenwireError
├── InvalidRequestError       fields break their rules; carries every violation
│   └── ConstraintInvalidError  a schema or grammar cannot be enforced
├── ContextLengthError        prompt and answer do not fit the context
├── MalformedMessageError     bytes that do not parse
├── ModelNotFoundError        no such model is served
├── CompletionNotFoundError   no such completion is stored
├── ConstraintFailedError     a constrained answer cannot go on
├── UnavailableError          refused before any work; carries when to retry
│   ├── QueueFullError
│   ├── ModelLoadingError
│   └── DrainingError
├── EngineFaultError          the engine failed
└── InternalError             a defect; its text never reaches the caller

Handlers raise these; `tokenwire.rpc.interceptor` and `tokenwire.rest.errors` turn them into answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

import grpc

from tokenwire.v1.errors_pb2 import ErrorReason

ERROR_DOMAIN = "tokenwire.dev"


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks its rule.

    `field` is the path in the contract (`messages[0].role`); `description` names the limit and the value;
    `code` is the machine-readable kind, in the words of the OpenAI API (`decimal_above_max_value`).
    """

    field: str
    description: str
    code: str = "invalid_value"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How one reason is told over gRPC and over HTTP."""

    grpc_code: grpc.StatusCode
    http_status: HTTPStatus
    openai_type: str
    openai_code: str | None


_BAD_REQUEST = "invalid_request_error"
_SERVER = "server_error"

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
    ErrorReason.ERROR_REASON_INTERNAL: ErrorKind(
        grpc.StatusCode.INTERNAL, HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER, None
    ),
}


class TokenwireError(Exception):
    """An error that a caller may see. `str(error)` is the message for the caller."""

    reason: ClassVar["ErrorReason.ValueType"]

    @property
    def kind(self) -> ErrorKind:
        """The row of the error table."""
        return ERROR_TABLE[self.reason]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Machine-readable facts, sent as `ErrorInfo.metadata`."""
        return {}


class InvalidRequestError(TokenwireError):
    """Fields break their rules. `violations` has every one, at least one."""

    reason = ErrorReason.ERROR_REASON_FIELD_INVALID

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(violation.description for violation in violations))
        self.violations = tuple(violations)


class ConstraintInvalidError(InvalidRequestError):
    """Schemas or grammars cannot be enforced. `violations` names the fields, and what of them and why."""

    reason = ErrorReason.ERROR_REASON_CONSTRAINT_INVALID


class ContextLengthError(TokenwireError):
    """The prompt leaves no room for the answer in the context (all in tokens)."""

    reason = ErrorReason.ERROR_REASON_CONTEXT_LENGTH_EXCEEDED

    def __init__(self, *, prompt_tokens: int, max_completion_tokens: int | None, context_length: int) -> None:
        """`max_completion_tokens` is None where the request gives none."""
        answer = "leave no room for an answer"
        if max_completion_tokens is not None:
            answer = f"`max_completion_tokens` is {max_completion_tokens}"
        super().__init__(
            f"the context length is {context_length} tokens; the messages are {prompt_tokens} tokens and {answer}"
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"prompt_tokens": str(self.prompt_tokens), "context_length": str(self.context_length)}


class MalformedMessageError(TokenwireError):
    """The bytes or the JSON of a request do not parse."""

    reason = ErrorReason.ERROR_REASON_MALFORMED_MESSAGE


class ModelNotFoundError(TokenwireError):
    """No such model is served."""

    reason = ErrorReason.ERROR_REASON_MODEL_NOT_FOUND

    def __init__(self, model: str) -> None:
        super().__init__(f"the model {model!r} is not served here; ListModels names those that are")
        self.model = model


class CompletionNotFoundError(TokenwireError):
    """No such completion is stored."""

    reason = ErrorReason.ERROR_REASON_COMPLETION_NOT_FOUND

    def __init__(self, completion_id: str) -> None:
        super().__init__(f"the completion {completion_id!r} is not stored here; `store` keeps one for a while")
        self.completion_id = completion_id


class ConstraintFailedError(TokenwireError):
    """A constrained answer cannot go on, for other parameters ban all that it allows, or its grammar is too complex."""

    reason = ErrorReason.ERROR_REASON_CONSTRAINT_FAILED

    def __init__(self, message: str, *, completion_id: str) -> None:
        super().__init__(message)
        self.completion_id = completion_id

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"completion_id": self.completion_id}


class UnavailableError(TokenwireError):
    """Refused before any work; the same request may work after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """Too many requests are waiting."""

    reason = ErrorReason.ERROR_REASON_QUEUE_FULL


class ModelLoadingError(UnavailableError):
    """The model is not loaded yet."""

    reason = ErrorReason.ERROR_REASON_MODEL_LOADING


class DrainingError(UnavailableError):
    """The server is shutting down."""

    reason = ErrorReason.ERROR_REASON_DRAINING


class EngineFaultError(TokenwireError):
    """The engine failed while it worked on a completion."""

    reason = ErrorReason.ERROR_REASON_ENGINE_FAULT

    def __init__(self, message: str, *, completion_id: str = "") -> None:
        super().__init__(message)
        self.completion_id = completion_id

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"completion_id": self.completion_id} if self.completion_id else {}


class InternalError(TokenwireError):
    """A defect of the server. The caller gets this fixed text; the log has the details."""

    reason = ErrorReason.ERROR_REASON_INTERNAL

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the details")
