"""Contract message → the response object."""

from collections.abc import Mapping, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from tokenwire.errors import TokenwireError
from tokenwire.rest.chat.answers import extension_json, service_tier_json
from tokenwire.rest.errors import error_json
from tokenwire.v1.chat_pb2 import Completed, Started, Usage

JsonObject = dict[str, object]

_NANOSECONDS = 1_000_000_000


class ResponseObject:
    """The response of one completion in its states."""

    def __init__(self, started: Started, asked: Mapping[str, object]) -> None:
        """`asked` is what of the request the response repeats."""
        self._created = started.created
        self._common: JsonObject = {
            **asked,
            "id": f"resp_{item_suffix(started)}",
            "object": "response",
            "created_at": started.created.seconds,
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": started.model,
            "output": [],
            "service_tier": service_tier_json(started.service_tier),
            "temperature": started.parameters.temperature,
            "top_p": started.parameters.top_p,
            "tokenwire": {
                **extension_json(started.parameters),
                "system_fingerprint": started.system_fingerprint,
            },
        }

    def in_progress(self) -> JsonObject:
        """Before any output."""
        return self._common

    def ended(self, output: Sequence[JsonObject], completed: Completed, *, is_cut: bool) -> JsonObject:
        """The whole answer, or as much of it as the limits allow."""
        answer = {**self._common, "output": list(output), "usage": _usage_json(completed.usage)}
        if is_cut:
            return {**answer, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        return {**answer, "status": "completed", "completed_at": _completed_at(self._created, completed)}

    def failed(self, output: Sequence[JsonObject], error: TokenwireError, *, message: object) -> JsonObject:
        """What there was before the error, of which the caller is told `message`."""
        told = {"code": _failure_code(error), "message": message}
        return {**self._common, "status": "failed", "output": list(output), "error": told}


def item_suffix(started: Started) -> str:
    """What the ids of a response and of all in it have of the completion's, behind their prefixes."""
    return started.id.removeprefix("chatcmpl-")


def error_event(error: TokenwireError) -> JsonObject:
    """The `error` event: the members of the error object, flat."""
    told = error_json(error)["error"]
    assert isinstance(told, dict)
    return {"type": "error", "code": told["code"], "message": told["message"], "param": told["param"]}


def _failure_code(error: TokenwireError) -> str:
    """The API has a few codes; the `error` event has our own."""
    if error.kind.http_status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.kind.http_status < 500 else "server_error"


def _completed_at(created: Timestamp, completed: Completed) -> int:
    return (created.ToNanoseconds() + completed.timings.total.ToNanoseconds()) // _NANOSECONDS


def _usage_json(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage.prompt_tokens,
        # There are no writes that would be charged.
        "input_tokens_details": {"cached_tokens": usage.cached_prompt_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
