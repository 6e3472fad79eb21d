"""Makes a failing input small: what can be left out without the failure going away is left out."""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError, Message

MAX_TRIALS = 300


def minimised(data: bytes, kind: type[Message], fails: Callable[[bytes], bool]) -> bytes:
    """The smallest bytes found that still fail: by fields where they are a message of this type, else by pieces."""
    trials = MAX_TRIALS
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for variant in _variants(data, kind):
            trials -= 1
            if trials < 0:
                break
            if fails(variant):
                data, is_smaller = variant, True
                break
    return data


def _variants(data: bytes, kind: type[Message]) -> Iterator[bytes]:
    try:
        message = kind.FromString(data)
    except DecodeError:
        yield from _without_a_piece(data)
        return
    for variant in _without_a_field(message):
        if len(smaller := variant.SerializeToString(deterministic=True)) < len(data):
            yield smaller


def _without_a_piece(data: bytes) -> Iterator[bytes]:
    """Without a half, a quarter, … a byte."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data), size):
            yield data[:start] + data[start + size :]
        size //= 2


def _without_a_field(message: Message) -> Iterator[Message]:
    """Copies of a message, each without one field, here or further inside, or with less in it."""
    for field, value in message.ListFields():
        yield _with(message, field.name, None)
        if isinstance(value, Message):
            for inner in _without_a_field(value):
                yield _with(message, field.name, inner)
        elif isinstance(value, str | bytes):
            yield _with(message, field.name, value[: len(value) // 2])
        elif field.is_repeated and not hasattr(value, "keys"):
            for items in _shorter(list(value)):
                yield _with(message, field.name, items)


def _shorter(items: list[Any]) -> Iterator[list[Any]]:
    """The halves of a list, and the list with one of its first elements made smaller."""
    if len(items) > 1:
        yield items[: len(items) // 2]
        yield items[len(items) // 2 :]
    for index, item in enumerate(items[:4]):
        if isinstance(item, Message):
            for smaller in _without_a_field(item):
                yield [*items[:index], smaller, *items[index + 1 :]]


def _with(message: Message, name: str, value: Any) -> Message:
    """A copy with another value of a field; None: without it."""
    copy: Any = type(message)()
    copy.CopyFrom(message)
    copy.ClearField(name)
    if isinstance(value, Message):
        getattr(copy, name).CopyFrom(value)
    elif isinstance(value, list):
        getattr(copy, name).extend(value)
    elif value is not None:
        setattr(copy, name, value)
    return copy  # type: ignore[no-any-return]
