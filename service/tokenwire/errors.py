"""The errors that a caller can get. `error_table.py` gives each its gRPC code and HTTP status.

TokenwireError
├── InvalidRequestError       fields break their rules; carries every violation
│   └── ConstraintInvalidError  a schema or grammar cannot be enforced
├── ContextLengthError        prompt and answer do not fit the context
├── MalformedMessageError     bytes that do not parse
├── ModelNotFoundError        no such model is served
├── CompletionNotFoundError   no such completion is stored, live or retained
├── ConstraintFailedError     a constrained answer cannot go on
├── UnauthenticatedError      no API key, or an unknown one
├── ForbiddenError            the API key does not allow it
├── RequestIdConflictError    a request id is in use for another request
├── ResumeWindowError         events are asked that are not kept any more
├── CompletionCancelledError  CancelChatCompletion ended it
├── DeadlineExceededError     the deadline of the call was over first
├── SlowConsumerError         the reader of a stream is too slow
├── UnavailableError          refused; carries when to retry
│   ├── QueueFullError
│   ├── QueueTimeoutError
│   ├── DeadlineUnattainableError   never to be retried here
│   ├── ModelLoadingError
│   └── DrainingError
├── RateLimitedError          the rate or concurrency of an API key is used up
├── EngineFaultError          the engine failed
└── InternalError             a defect; its text never reaches the caller

Handlers raise these; `tokenwire.rpc.interceptor` and `tokenwire.rest.errors` turn them into answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tokenwire.error_table import ERROR_TABLE, ErrorKind
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


class TokenwireError(Exception):
    """An error that a caller may see. `str(error)` is the message for the caller."""

    reason: ClassVar["ErrorReason.ValueType"]
    retry_after_s: float | None = None
    """Seconds after which the same request may work; None: it is not said."""

    @property
    def kind(self) -> ErrorKind:
        """The row of the error table."""
        return ERROR_TABLE[self.reason]

    @property
    def reason_name(self) -> str:
        """As in `ErrorInfo.reason`: `QUEUE_FULL`."""
        return ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")

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
        answer = ", which leave no room for an answer"
        if max_completion_tokens is not None:
            answer = f" and `max_completion_tokens` is {max_completion_tokens}"
        # OpenAI's own words: litellm knows the error by them alone.
        limit = f"this model's maximum context length is {context_length} tokens"
        super().__init__(f"{limit}; the prompt has {prompt_tokens} tokens{answer}")
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
    """No such completion is stored, live or retained, or it is another caller's."""

    reason = ErrorReason.ERROR_REASON_COMPLETION_NOT_FOUND

    def __init__(self, completion_id: str) -> None:
        super().__init__(
            f"the completion {completion_id!r} is not kept here; `store` and `execution_policy.retain_for` keep one "
            "for a while"
        )
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


class UnauthenticatedError(TokenwireError):
    """No API key, or one that is not known."""

    reason = ErrorReason.ERROR_REASON_BAD_API_KEY


class ForbiddenError(TokenwireError):
    """The API key does not allow this model."""

    reason = ErrorReason.ERROR_REASON_MODEL_FORBIDDEN


class RequestIdConflictError(TokenwireError):
    """The request id is in use for a request with another body."""

    reason = ErrorReason.ERROR_REASON_REQUEST_ID_CONFLICT

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the `request_id` {request_id!r} is in use for another request")


class ResumeWindowError(TokenwireError):
    """The events after a sequence are not all kept any more."""

    reason = ErrorReason.ERROR_REASON_RESUME_WINDOW_EXPIRED

    def __init__(self, *, after_sequence: int, first_sequence: int) -> None:
        super().__init__(f"events after {after_sequence} were asked; the first one that is kept is {first_sequence}")
        self.first_sequence = first_sequence

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"first_sequence": str(self.first_sequence)}


class CompletionCancelledError(TokenwireError):
    """CancelChatCompletion ended the completion."""

    reason = ErrorReason.ERROR_REASON_COMPLETION_CANCELLED

    def __init__(self, completion_id: str) -> None:
        super().__init__(f"the completion {completion_id!r} was cancelled")
        self.completion_id = completion_id

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"completion_id": self.completion_id}


class DeadlineExceededError(TokenwireError):
    """The deadline of the call was over before the answer was done."""

    reason = ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED


class SlowConsumerError(TokenwireError):
    """The reader of a stream takes its events too slowly. `last_sequence` is that of the last event it was sent."""

    reason = ErrorReason.ERROR_REASON_SLOW_CONSUMER

    def __init__(self, message: str, *, completion_id: str, last_sequence: int) -> None:
        super().__init__(message)
        self.completion_id = completion_id
        self.last_sequence = last_sequence

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"completion_id": self.completion_id, "last_sequence": str(self.last_sequence)}


class UnavailableError(TokenwireError):
    """Refused; the same request may work after `retry_after_s` seconds, and never on this server where it is None."""

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(UnavailableError):
    """Too many requests are waiting."""

    reason = ErrorReason.ERROR_REASON_QUEUE_FULL


class QueueTimeoutError(UnavailableError):
    """`max_queue_time` was over before the generation began."""

    reason = ErrorReason.ERROR_REASON_QUEUE_TIMEOUT


class DeadlineUnattainableError(UnavailableError):
    """The generation cannot begin before the deadline of the call."""

    reason = ErrorReason.ERROR_REASON_DEADLINE_UNATTAINABLE

    def __init__(self, *, estimated_wait_s: float, time_left_s: float) -> None:
        super().__init__(
            f"the generation would begin in about {estimated_wait_s:.1f} s; the deadline is in {time_left_s:.1f} s",
            retry_after_s=None,
        )
        self.estimated_wait_s = estimated_wait_s
        self.time_left_s = time_left_s

    @property
    def metadata(self) -> Mapping[str, str]:
        return {
            "estimated_wait_ms": str(round(self.estimated_wait_s * 1000)),
            "time_left_ms": str(round(self.time_left_s * 1000)),
        }


class ModelLoadingError(UnavailableError):
    """The model is not loaded yet."""

    reason = ErrorReason.ERROR_REASON_MODEL_LOADING


class DrainingError(UnavailableError):
    """The server is shutting down."""

    reason = ErrorReason.ERROR_REASON_DRAINING


class RateLimitedError(TokenwireError):
    """The rate or concurrency of an API key is used up; it may work after `retry_after_s` seconds."""

    reason = ErrorReason.ERROR_REASON_RATE_LIMITED
    retry_after_s: float

    def __init__(self, message: str, *, subject: str, retry_after_s: float) -> None:
        """`subject` is whose limit it is, and which: `key:alice/requests_per_minute`."""
        super().__init__(message)
        self.subject = subject
        self.retry_after_s = retry_after_s


class EngineFaultError(TokenwireError):
    """The engine failed while it worked on a completion."""

    reason = ErrorReason.ERROR_REASON_ENGINE_FAULT

    def __init__(self, message: str, *, completion_id: str = "", tokens_emitted: int | None = None) -> None:
        """`tokens_emitted`: tokens of all choices together that the engine gave before it failed."""
        super().__init__(message)
        self.completion_id = completion_id
        self.tokens_emitted = tokens_emitted

    @property
    def metadata(self) -> Mapping[str, str]:
        told = {"completion_id": self.completion_id} if self.completion_id else {}
        return told if self.tokens_emitted is None else told | {"tokens_emitted": str(self.tokens_emitted)}


class InternalError(TokenwireError):
    """A defect of the server. The caller gets this fixed text; the log has the details."""

    reason = ErrorReason.ERROR_REASON_INTERNAL

    def __init__(self) -> None:
        super().__init__("internal error; the server's log has the details")
