"""The rules of what names a request or a completion."""

from collections.abc import Iterator

from tokenwire.chat.validation.limits import MAX_REQUEST_ID_LENGTH
from tokenwire.chat.validation.rules import missing
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import CancelChatCompletionRequest, ResumeChatCompletionRequest


def check_request_id(request_id: str) -> Iterator[Violation]:
    """The violation of a `request_id`; an empty one is none."""
    if len(request_id) > MAX_REQUEST_ID_LENGTH:
        description = f"`request_id` must have at most {MAX_REQUEST_ID_LENGTH} characters; got {len(request_id)}"
        yield Violation("request_id", description, "string_above_max_length")
    elif not (request_id.isascii() and request_id.isprintable()):
        yield Violation("request_id", f"`request_id` must be printable ASCII characters; got {request_id!r}")


def check_resume(request: ResumeChatCompletionRequest) -> None:
    """Raise `InvalidRequestError` with every violation, if there is one."""
    violations = [] if request.completion_id else [missing("completion_id")]
    if request.after_sequence < 0:
        description = f"`after_sequence` must be at least 0; got {request.after_sequence}"
        violations.append(Violation("after_sequence", description, "integer_below_min_value"))
    if violations:
        raise InvalidRequestError(violations)


def check_cancel(request: CancelChatCompletionRequest) -> None:
    """Raise `InvalidRequestError` where no completion is named."""
    if not (request.completion_id or request.request_id):
        raise InvalidRequestError([missing(request.WhichOneof("target") or "target")])
