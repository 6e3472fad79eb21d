"""Structured input: messages of any type, made from its descriptor; near a good request, to get past the door."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fuzz import texts
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    Role,
)
from tokenwire.v1.chat_pb2 import Message as ChatMessage

MODEL: Final = "tiny"
MAX_MESSAGE_BYTES: Final = 1 << 20
"""That the server takes."""
RECENT_ID: Final = "chatcmpl-" + "0" * 32
"""Stands for the id of a completion that the server has given: it is put in when the call is made."""

_MAX_DEPTH: Final = 6
_MAX_FIELDS: Final = 4
_NAMES: Final = ("f", "g", "get_weather", "a-b", "", "a b", "x" * 64, "x" * 65, "é")
_IDS: Final = (RECENT_ID, RECENT_ID, RECENT_ID[:-1], "chatcmpl-", "", "x")
_CALL_IDS: Final = ("c1", "c2", "123456789", "", "\0")
_COUNTS: Final = tuple(range(12))
_FLOATS: Final = (0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 5e-324, 1e308, math.inf, -math.inf, math.nan)

# By the name of the field: values that are worth trying, for chance would not hit upon them. A function makes one.
_HINTS: Final[Mapping[str, Sequence[Any] | Callable[[Random], Any]]] = {
    "model": (MODEL,),
    "completion_id": _IDS,
    "request_id": (*(f"r{number}" for number in range(8)), "", "a b", "é", "x" * 128, "x" * 129, "\n"),
    "name": _NAMES,
    "function_name": _NAMES,
    "id": _CALL_IDS,
    "tool_call_id": _CALL_IDS,
    "arguments": texts.arguments_text,
    "parameters": texts.schema_text,
    "schema": texts.schema_text,
    "regex": texts.regex,
    "lark": texts.grammar,
    "chat_template_kwargs": texts.kwargs_text,
    "max_completion_tokens": _COUNTS,
    "min_tokens": _COUNTS,
    "n": (1, 2, 3, 4),
    "top_logprobs": tuple(range(22)),
    "prompt_logprobs": tuple(range(22)),
    "token_ids": tuple(range(-1, 600)),
    "stop_token_ids": tuple(range(-1, 600)),
    "after_sequence": tuple(range(-2, 9)),
    "seconds": (0, 1, 60, 3600, 86400, 315_576_000_000, 315_576_000_001),
    "nanos": (0, 1, 500_000_000, 999_999_999, 1_000_000_000, -1),
}

_KEYS: Final = ("a", "k" * 64, "k" * 65, "", "[", "`", "é")
_MANY: Final = 600

_INTEGER_BITS: Final[Mapping[int, tuple[int, bool]]] = {
    FieldDescriptor.TYPE_INT32: (32, True),
    FieldDescriptor.TYPE_INT64: (64, True),
    FieldDescriptor.TYPE_UINT32: (32, False),
    FieldDescriptor.TYPE_UINT64: (64, False),
}


def message(rng: Random, kind: type[Message]) -> Message:
    """A message of a type: often a good one with a few fields changed, sometimes any fields at all."""
    is_near = rng.random() < 0.8
    made = _good(rng, kind) if is_near else kind()
    _fill(rng, made, most=rng.choice((0, 1, 1, 2, _MAX_FIELDS)) if is_near else 2 * _MAX_FIELDS)
    return made


def _good(rng: Random, kind: type[Message]) -> Message:
    """A message that is answered as it stands."""
    if kind is ChatCompletionRequest:
        request = ChatCompletionRequest(model=MODEL, max_completion_tokens=rng.randint(1, 6))
        request.messages.add(role=Role.ROLE_USER, content="hello")
        if rng.random() < 0.5:  # so that it can be found again
            request.execution_policy.retain_for.seconds = rng.randint(1, 20)
        if rng.random() < 0.2:
            _add_call(rng, request)
        return request
    if kind in (GetChatCompletionRequest, ResumeChatCompletionRequest, CancelChatCompletionRequest):
        return kind(completion_id=RECENT_ID)
    return kind(model=MODEL) if "model" in kind.DESCRIPTOR.fields_by_name else kind()


def _add_call(rng: Random, request: ChatCompletionRequest) -> None:
    """A tool, a call of it and its result."""
    function = request.tools.add().function
    function.name, function.parameters = "f", texts.schema_text(rng)
    call = request.messages.add(role=Role.ROLE_ASSISTANT).tool_calls.add(id="c1")
    call.function.name, call.function.arguments = "f", texts.arguments_text(rng)
    request.messages.add(role=Role.ROLE_TOOL, content=texts.text(rng), tool_call_id="c1")


def _fill(rng: Random, filled: Message, *, most: int = _MAX_FIELDS, depth: int = 0) -> None:
    """Set up to `most` fields."""
    fields: list[Any] = list(filled.DESCRIPTOR.fields)
    if not fields or depth == _MAX_DEPTH:
        return
    for field in rng.sample(fields, min(rng.randint(min(1, most), most), len(fields))):
        if _is_map(field):
            _fill_map(rng, getattr(filled, field.name), field)
        elif field.is_repeated:
            _fill_list(rng, getattr(filled, field.name), field, depth)
        elif field.message_type is None:
            setattr(filled, field.name, _scalar(rng, field))
        else:
            item: Message = getattr(filled, field.name)
            item.SetInParent()
            _fill(rng, item, depth=depth + 1)


def _fill_list(rng: Random, values: Any, field: Any, depth: int) -> None:
    times = rng.choice((1, 1, 1, 2, 3, 130))
    if field.message_type is None:
        values.extend([_scalar(rng, field)] * times)
        return
    item = values.add()
    if isinstance(item, ChatMessage) and rng.random() < 0.5:  # others are refused for one thing, at once
        item.role, item.content = rng.choice(Role.values()[1:5]), texts.text(rng)
    _fill(rng, item, depth=depth + 1)
    values.extend([item] * (times - 1))


def _fill_map(rng: Random, values: Any, field: Any) -> None:
    of = field.message_type.fields_by_name
    is_text = of["key"].type == FieldDescriptor.TYPE_STRING
    keys: list[Any] = [rng.choice(_KEYS) if is_text else _scalar(rng, of["key"]) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.05:
        keys += [str(number) if is_text else number for number in range(_MANY)]
    value = _scalar(rng, of["value"])
    for key in keys:
        values[key] = value


@cache
def _is_map(field: Any) -> bool:
    return bool(field.is_repeated and field.message_type and field.message_type.GetOptions().map_entry)


def _scalar(rng: Random, field: Any) -> Any:
    if (hint := _HINTS.get(field.name)) is not None and rng.random() < 0.7:
        value = hint(rng) if callable(hint) else rng.choice(hint)
        if isinstance(value, str) == (field.type == FieldDescriptor.TYPE_STRING):
            return value
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return texts.text(rng)
        case FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.randint(0, 64))
        case FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return rng.choice((rng.choice(_FLOATS), rng.uniform(-3, 3)))
        case FieldDescriptor.TYPE_ENUM:
            known = [value.number for value in field.enum_type.values]
            return rng.choice((*known, *known, -1, 99, 2**31 - 1, -(2**31)))
        case _:
            return _integer(rng, *_INTEGER_BITS[field.type])


def _integer(rng: Random, bits: int, is_signed: bool) -> int:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    return rng.choice((low, high, 0, 1, 2, rng.randint(low, high), rng.randint(0, 20)))
