"""Reads JSON values as the types of the contract, and collects every value that has another type."""

import json
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tokenwire.errors import Violation

T = TypeVar("T")

_TYPE_NAMES: Mapping[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    NoneType: "null",
}


class JsonReader:
    """Reads values of one request. A value of a wrong type is read as None and recorded as a violation.

    Only types are looked at, and whether an integer fits its field; what values are good is the chat service's to say.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.ignored: list[str] = []
        """Paths of the fields that nobody knows."""
        self.json_names: dict[str, str] = {}
        """Contract path → JSON path, of what this request calls by another of its names."""

    def reject(self, path: str, code: str, rule: str) -> None:
        """Record that the value at `path` breaks `rule` ("must be …; got …")."""
        self.violations.append(Violation(path, f"`{path}` {rule}", code))

    def ignore(self, path: str, names: Iterable[str]) -> None:
        """Record fields of the object at `path` that nobody knows."""
        self.ignored.extend(f"{path}.{name}" for name in names)

    def missing(self, path: str) -> None:
        """Record that there is no value at `path`."""
        self.reject(path, "missing_required_parameter", "is required")

    def wrong_type(self, value: object, path: str, wanted: str) -> None:
        """Record that the value at `path` is not `wanted` ("a string")."""
        self.reject(path, "invalid_type", f"must be {wanted}; got {_TYPE_NAMES[type(value)]}")

    def string(self, value: object, path: str) -> str | None:
        """Read a string of whole Unicode characters."""
        if not isinstance(value, str):
            self.wrong_type(value, path, "a string")
            return None
        try:
            value.encode()
        except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair, UTF-8 cannot
            self.reject(path, "invalid_value", f"must be valid Unicode; character {error.start} is half a pair")
            return None
        return value

    def boolean(self, value: object, path: str) -> bool | None:
        """Read a boolean."""
        if not isinstance(value, bool):
            self.wrong_type(value, path, "a boolean")
            return None
        return value

    def number(self, value: object, path: str) -> float | None:
        """Read a number, integer or decimal."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.wrong_type(value, path, "a number")
            return None
        try:
            return float(value)
        except OverflowError:  # an integer of more than 308 digits; the chat service refuses infinities by range
            return float("inf") if value > 0 else float("-inf")

    def int32(self, value: object, path: str) -> int | None:
        """Read an integer of 32 bits."""
        return self._integer(value, path, bits=32)

    def int64(self, value: object, path: str) -> int | None:
        """Read an integer of 64 bits."""
        return self._integer(value, path, bits=64)

    def array(self, value: object, path: str) -> list[object] | None:
        """Read an array."""
        if not isinstance(value, list):
            self.wrong_type(value, path, "an array")
            return None
        return value

    def mapping(self, value: object, path: str) -> dict[str, object] | None:
        """Read an object."""
        if not isinstance(value, dict):
            self.wrong_type(value, path, "an object")
            return None
        return value

    def members(self, value: object, path: str) -> dict[str, object] | None:
        """Read an object of which null members are absent."""
        mapping = self.mapping(value, path)
        return None if mapping is None else {name: item for name, item in mapping.items() if item is not None}

    def strings(self, value: object, path: str) -> list[str]:
        """Read an array of strings; what is wrong with it is left out."""
        items = (self.string(item, f"{path}[{index}]") for index, item in enumerate(self.array(value, path) or []))
        return [item for item in items if item is not None]

    def one_of(self, value: object, path: str, meanings: Mapping[str, T]) -> T | None:
        """Read one of some words, as what it means."""
        word = self.string(value, path)
        if word is None:
            return None
        if word not in meanings:
            self.reject(path, "invalid_value", f"must be one of {', '.join(map(shown, meanings))}; got {shown(word)}")
            return None
        return meanings[word]

    def json_text(self, value: object, path: str) -> str | None:
        """Read an object that the contract has as JSON text: keys in the same order, numbers as JSON numbers."""
        if self.mapping(value, path) is None:
            return None
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except RecursionError:
            self.reject(path, "invalid_value", "has too many levels")
            return None
        except ValueError:  # 1e999 is read as infinity
            self.reject(path, "invalid_value", "must have numbers that fit 64-bit floating point")
            return None
        return self.string(text, path)

    def fill(
        self, message: Message, members: Mapping[str, object], path: str, readers: Mapping[str, "ScalarReader"]
    ) -> None:
        """Set the fields of a message from members of the same names; others are fields that nobody knows."""
        for name, value in members.items():
            if name in readers:
                set_field(message, name, readers[name](self, value, f"{path}.{name}"))
            else:
                self.ignore(path, [name])

    def _integer(self, value: object, path: str, *, bits: int) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong_type(value, path, "an integer")
            return None
        limit = 1 << (bits - 1)
        if value >= limit:
            self.reject(path, "integer_above_max_value", f"must be at most {limit - 1}; got {shown(value)}")
            return None
        if value < -limit:
            self.reject(path, "integer_below_min_value", f"must be at least {-limit}; got {shown(value)}")
            return None
        return value


ScalarReader = Callable[[JsonReader, object, str], object]

_SCALAR_READERS: Mapping[int, ScalarReader] = {
    FieldDescriptor.TYPE_STRING: JsonReader.string,
    FieldDescriptor.TYPE_BOOL: JsonReader.boolean,
    FieldDescriptor.TYPE_DOUBLE: JsonReader.number,
    FieldDescriptor.TYPE_INT32: JsonReader.int32,
    FieldDescriptor.TYPE_INT64: JsonReader.int64,
}


def scalar_readers(message: type[Message]) -> Mapping[str, ScalarReader]:
    """How to read each field of a message that holds one string, number or boolean, by the field's name."""
    return {
        field.name: _SCALAR_READERS[field.type]
        for field in message.DESCRIPTOR.fields
        if field.type in _SCALAR_READERS and not field.is_repeated
    }


def enum_words(values: Iterable[tuple[str, T]], *, prefix: str) -> Mapping[str, T]:
    """The words that JSON has for the values of an enum of the contract: lower case, without the prefix."""
    words = {name.removeprefix(prefix).lower(): value for name, value in values}
    return {word: value for word, value in words.items() if word != "unspecified"}


def set_field(message: Message, name: str, value: object) -> None:
    """Set a field to what was read; None is what was refused."""
    if value is not None:
        setattr(message, name, value)


def shown(value: object) -> str:
    """A value as an error message shows it: as JSON in ASCII, cut where it is long."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return _TYPE_NAMES[type(value)]
    return text if len(text) <= 80 else f"{text[:77]}..."
