"""Counts what is in a serialized message before it is parsed.

Two bytes on the wire can become a hundred in memory: 32 MiB of empty messages took 2 GB and stopped the event loop for
seconds. Counting the fields, up to a limit, costs no more than the limit.
"""

from dataclasses import dataclass, field
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default

from tokenwire.chat.validation.limits import MAX_FIELDS
from tokenwire.errors import MalformedMessageError

SMALL_MESSAGE_BYTES = 16 * 1024
"""Below it nothing needs to be counted."""

_PACKED_PER_FIELD = 8
"""Numbers of a packed field that cost as much as a field."""

_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a message grows when it is parsed, by field numbers."""

    messages: dict[int, "Shape"] = field(default_factory=dict)
    packed: set[int] = field(default_factory=set)
    """Lists of numbers."""


@cache
def request_shape(method: str) -> Shape:
    """That of the requests of a method of ours, `/tokenwire.v1.ChatService/CreateChatCompletion`."""
    service, _, name = method.lstrip("/").partition("/")
    return _shape(Default().FindServiceByName(service).methods_by_name[name].input_type, {})


def check_wire_size(data: bytes, shape: Shape) -> None:
    """Raises `MalformedMessageError` where a message has more than `MAX_FIELDS` fields, those of the messages in it
    included, or does not parse."""
    try:
        if _exceeds(data, shape):
            raise MalformedMessageError(f"the request has more than {MAX_FIELDS} fields and elements")
    except (IndexError, ValueError):
        raise MalformedMessageError(f"the {len(data)} bytes of the request do not parse as its message") from None


def _shape(message: Descriptor, known: dict[str, Shape]) -> Shape:
    if (shape := known.get(message.full_name)) is None:
        shape = known[message.full_name] = Shape()
        for declared in message.fields:
            if declared.message_type is not None:
                shape.messages[declared.number] = _shape(declared.message_type, known)
            elif declared.is_repeated and declared.cpp_type != FieldDescriptor.CPPTYPE_STRING:
                shape.packed.add(declared.number)
    return shape


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number there, and where it ends. Raises `ValueError` or `IndexError` where there is none."""
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        byte = data[position + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise ValueError("a number has too many bytes")


def _exceeds(data: bytes, shape: Shape) -> bool:
    count = 0
    waiting = [(0, len(data), shape)]
    while waiting:
        position, end, shape = waiting.pop()
        while position < end:
            count += 1
            tag, position = _varint(data, position)
            match tag & 7:
                case 0:
                    _, position = _varint(data, position)
                case 1:
                    position += 8
                case 2:
                    length, position = _varint(data, position)
                    if (inner := shape.messages.get(tag >> 3)) is not None:
                        waiting.append((position, position + length, inner))
                    elif tag >> 3 in shape.packed:
                        count += length // _PACKED_PER_FIELD
                    position += length
                case 5:
                    position += 4
                case _:  # a group, of which we have none: its fields follow
                    pass
            if count > MAX_FIELDS:
                return True
        if position > end:
            raise ValueError
    return False
