"""Parameters of a request that a person typed: a name and a word, a number, or JSON for lists and objects."""

from collections.abc import Mapping
from json import JSONDecodeError, loads
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from tokenwire.v1.chat_pb2 import ChatCompletionRequest
from tokenwire_client import chat_request

_FIELDS: Mapping[str, FieldDescriptor] = {
    # A conversation has commands of its own for its messages, one answer, many requests, and nobody who runs tools.
    field.name: field
    for field in ChatCompletionRequest.DESCRIPTOR.fields
    if field.name not in ("messages", "raw_prompt", "n", "tools", "tool_choice", "parallel_tool_calls", "request_id")
}
_TYPE_WORDS: Mapping[int, str] = {
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_INT32: "an integer",
    FieldDescriptor.CPPTYPE_INT64: "an integer",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "text",
}

_EXAMPLES: Mapping[str, str] = {
    "logit_bias": '{"42": -100}',
    "response_format": '{"type": "json_object"}',
    "execution_policy": '{"priority": 5}',
    "metadata": '{"key": "value"}',
}


def set_parameter(request: ChatCompletionRequest, name: str, text: str) -> None:
    """Set the parameter in the request; an empty text puts it back to the server's default.

    Its type is checked here, its range by the server. Raises `ValueError` with a message for the person.
    """
    field = _FIELDS.get(name)
    if field is None:
        raise ValueError(f"there is no parameter {name!r}; there are: {', '.join(_FIELDS)}")
    given = ChatCompletionRequest()
    if text:
        try:
            given = _read_request(field, _read_value(text, field))
        except (ParseError, TypeError):
            raise ValueError(f"`{name}` must be {_describe(field)}; got {text}") from None
    # The stubs want a literal name; `_FIELDS` has it from the descriptor.
    request.ClearField(name)  # type: ignore[arg-type]
    request.MergeFrom(given)


def _read_request(field: FieldDescriptor, value: Any) -> ChatCompletionRequest:
    """A request with this field only."""
    if field.enum_type or (field.message_type and not field.message_type.GetOptions().map_entry):
        # The client's words and dicts are easier to type than the contract's.
        parameters: Any = {field.name: value}
        return chat_request([], parameters)
    return ParseDict({field.name: value}, ChatCompletionRequest())


def _read_value(text: str, field: FieldDescriptor) -> Any:
    try:
        value = loads(text)
    except JSONDecodeError:
        value = text
    is_text = field.cpp_type == FieldDescriptor.CPPTYPE_STRING and not isinstance(value, str | list)
    # Left to itself, protobuf takes true for 1.
    is_truth = isinstance(value, bool) and field.cpp_type != FieldDescriptor.CPPTYPE_BOOL
    if is_text or is_truth:
        value = text
    is_list = field.is_repeated and field.message_type is None
    return [value] if is_list and not isinstance(value, list) else value


def _describe(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return f"a JSON object such as {_EXAMPLES[field.name]}"
    words = _TYPE_WORDS[field.cpp_type]
    return f"{words} or a JSON list" if field.is_repeated else words
