"""The form of an answer: what callers may pass, and the contract's message made of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from tokenwire.v1.chat_pb2 import ChoiceFormat, JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat
from tokenwire_client._dicts import json_text, refuse_unknown_keys


class JsonSchemaDict(TypedDict):
    """A JSON schema, as a dict or as text, with a name for the caller's own use."""

    schema: Mapping[str, Any] | str
    name: NotRequired[str]
    description: NotRequired[str]
    strict: NotRequired[bool | None]


class ResponseFormatDict(TypedDict):
    """The form of an answer as a dict: the type, and what it needs under a key of the same name.

    `{"type": "json_schema", "json_schema": {"schema": {…}}}`, `{"type": "choice", "choice": ["yes", "no"]}`,
    `{"type": "json_object"}`.
    """

    type: Literal["text", "json_object", "json_schema", "regex", "lark", "choice"]
    json_schema: NotRequired[JsonSchemaDict]
    regex: NotRequired[str]
    lark: NotRequired[str]
    choice: NotRequired[Sequence[str]]


def json_schema(schema: Mapping[str, Any] | str, *, name: str = "", description: str = "") -> ResponseFormat:
    """JSON that matches a schema: a dict or text."""
    form = JsonSchemaFormat(schema=json_text(schema), name=name, description=description)
    return ResponseFormat(json_schema=form)


def regex(pattern: str) -> ResponseFormat:
    """Text that matches a regular expression as a whole, in the syntax of Rust's `regex`."""
    return ResponseFormat(regex=pattern)


def lark(grammar: str) -> ResponseFormat:
    """Text of a context-free grammar, in the Lark variant of llguidance."""
    return ResponseFormat(lark=grammar)


def choice(*options: str) -> ResponseFormat:
    """One of several texts."""
    return ResponseFormat(choice=ChoiceFormat(options=options))


def to_response_format(given: ResponseFormat | ResponseFormatDict) -> ResponseFormat:
    """Raises `ValueError` for a dict that is no form, `TypeError` for a value of a wrong type."""
    if isinstance(given, ResponseFormat):
        return given
    refuse_unknown_keys(given, ResponseFormatDict.__annotations__, what="a response format")
    if "type" in given:
        refuse_unknown_keys(given, {"type", given["type"]}, what=f"a response format of type {given['type']!r}")
    match given:
        case {"type": "text"}:
            return ResponseFormat(text=TextFormat())
        case {"type": "json_object"}:
            return ResponseFormat(json_object=JsonObjectFormat())
        case {"type": "json_schema", "json_schema": {"schema": _} as described}:
            return _to_json_schema(dict(described))
        case {"type": "regex", "regex": str(pattern)}:
            return regex(pattern)
        case {"type": "lark", "lark": str(grammar)}:
            return lark(grammar)
        case {"type": "choice", "choice": [*options]}:
            return choice(*options)
    form = "{'type': 'json_schema', 'json_schema': {'schema': …}} or of another type"
    raise ValueError(f"a response format must be {form}; got {given!r}")


def _to_json_schema(described: Mapping[str, Any]) -> ResponseFormat:
    refuse_unknown_keys(described, JsonSchemaDict.__annotations__, what="`json_schema`")
    form = JsonSchemaFormat(**{**described, "schema": json_text(described["schema"])})
    return ResponseFormat(json_schema=form)
