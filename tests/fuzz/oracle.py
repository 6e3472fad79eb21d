"""Judges what a call came to: a status of the table, a stream that is whole, violations with paths of the contract."""

import re
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from fuzz.calls import Call, Outcome
from fuzz.inputs import MAX_MESSAGE_BYTES
from tokenwire.error_table import ERROR_TABLE
from tokenwire.errors import ERROR_DOMAIN
from tokenwire.rpc.status import DETAILS_KEY
from tokenwire.stream import StreamChecker, StreamGrammarError
from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ResumeChatCompletionRequest
from tokenwire.v1.errors_pb2 import ErrorReason

_DEFECTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_NAME = re.compile(r"[a-z_0-9]+")
_INDEX = re.compile(r"\[-?\d+\]")
_FOREIGN = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
"""What health and reflection may say."""


class DefectError(Exception):
    """The server broke a promise."""


def judge(call: Call, outcome: Outcome) -> str:
    """The code and the reason of an outcome that is right. Raises `DefectError`."""
    _check_answers(call, outcome)
    if outcome.code is grpc.StatusCode.OK:
        return "OK"
    if outcome.code in _DEFECTS:
        raise DefectError(f"{outcome.code.name}: {outcome.message}")
    if _was_ended_by_caller(call, outcome):
        return f"{outcome.code.name} (the caller's)"
    if not _parses(call) and outcome.code is not grpc.StatusCode.INVALID_ARGUMENT:
        raise DefectError(f"bytes that do not parse gave {outcome.code.name}: {outcome.message}")
    if outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED and len(call.data) > MAX_MESSAGE_BYTES:
        return f"{outcome.code.name} (gRPC's own)"  # before any handler
    if not call.method.is_own:
        if outcome.code not in _FOREIGN:
            raise DefectError(f"{outcome.code.name}: {outcome.message}")
        return outcome.code.name
    return f"{outcome.code.name} {_reason(call, outcome)}"


def _was_ended_by_caller(call: Call, outcome: Outcome) -> bool:
    if outcome.code is grpc.StatusCode.CANCELLED:
        return call.stop_after is not None
    return outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED and call.deadline_s is not None


def _check_answers(call: Call, outcome: Outcome) -> None:
    try:
        answers = [call.method.answer.FromString(answer) for answer in outcome.answers]
    except DecodeError as error:
        raise DefectError("an answer does not parse") from error
    is_ok = outcome.code is grpc.StatusCode.OK
    if is_ok and not call.method.gives_stream and len(answers) != 1:
        raise DefectError(f"OK with {len(answers)} answers")
    if call.method.answer is ChatCompletionEvent:
        _check_stream(call, [answer for answer in answers if isinstance(answer, ChatCompletionEvent)], is_ok=is_ok)


def _check_stream(call: Call, events: Sequence[ChatCompletionEvent], *, is_ok: bool) -> None:
    if call.method.request is ResumeChatCompletionRequest and (not events or not events[0].HasField("started")):
        return  # it begins in the middle
    checker = StreamChecker()
    try:
        for event in events:
            checker.check(event)
        if is_ok:
            checker.end()
    except StreamGrammarError as error:
        raise DefectError(f"stream: {error}") from error


def _parses(call: Call) -> bool:
    try:
        call.method.request.FromString(call.data)
    except DecodeError:
        return False
    return True


def _reason(call: Call, outcome: Outcome) -> str:
    """The reason, which the details must have, and which must go with the code."""
    trailer = dict(outcome.trailers).get(DETAILS_KEY)
    if not isinstance(trailer, bytes):
        raise DefectError(f"{outcome.code.name} without details: {outcome.message}")
    status, info, bad_request = Status.FromString(trailer), ErrorInfo(), BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    row = ERROR_TABLE.get(ErrorReason.Value(f"ERROR_REASON_{info.reason}"))
    if info.domain != ERROR_DOMAIN or row is None or row.grpc_code is not outcome.code:
        raise DefectError(f"{outcome.code.name} with the reason {info.reason!r} of {info.domain!r}")
    if not outcome.message:
        raise DefectError(f"{info.reason} without a message")
    for violation in bad_request.field_violations:
        if not is_path(violation.field, call.method.request.DESCRIPTOR):
            raise DefectError(f"{violation.field!r} is no path of {call.method.request.DESCRIPTOR.full_name}")
    return str(info.reason)


def is_path(path: str, root: Any) -> bool:
    """Whether a field of the contract has this path: `messages[0].role`, `metadata[key]`, or a oneof's at the end.

    `root` is the descriptor of the message.
    """
    descriptor = root
    while path:
        name = _NAME.match(path)
        if name is None or descriptor is None:
            return False
        path = path[name.end() :]
        if name[0] in descriptor.oneofs_by_name:
            return not path
        field = descriptor.fields_by_name.get(name[0])
        if field is None:
            return False
        if path.startswith("["):
            if _has_text_keys(field):
                return True  # the key is the caller's text, which is cut where it is long
            index = _INDEX.match(path)
            if not field.is_repeated or index is None:
                return False
            path = path[index.end() :]
        if path and not path.startswith("."):
            return False
        path, descriptor = path[1:], field.message_type
    return True


def _has_text_keys(field: Any) -> bool:
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return False
    return bool(entry.fields_by_name["key"].type == field.TYPE_STRING)
