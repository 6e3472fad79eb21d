"""JSON messages → contract."""

from collections.abc import Mapping

from tokenwire.rest.chat.tools import take_function
from tokenwire.rest.chat.unserved import read_unserved_in_message
from tokenwire.rest.json_reader import JsonReader, enum_words, scalar_readers, set_field, shown
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, FunctionCall, Message, Role, ToolCall

_MESSAGE_SCALARS = scalar_readers(Message)
_PART_SCALARS = scalar_readers(ContentPart)
_CALL_SCALARS = scalar_readers(ToolCall)
_FUNCTION_SCALARS = scalar_readers(FunctionCall)
_ROLES = enum_words(Role.items(), prefix="ROLE_")


def read_messages(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Read `messages`."""
    for index, item in enumerate(reader.array(value, "messages") or []):
        path = f"messages[{index}]"
        _read_message(reader, reader.members(item, path) or {}, path, request.messages.add())


def _read_message(reader: JsonReader, item: dict[str, object], path: str, message: Message) -> None:
    _rename_reasoning(reader, item, path)
    for name, value in item.items():
        field = f"{path}.{name}"
        if name == "role":
            set_field(message, name, reader.one_of(value, field, _ROLES))
        elif name == "content" and not isinstance(value, str):
            _read_parts(reader, value, field, message)
        elif name == "tool_calls":
            _read_tool_calls(reader, value, field, message)
        elif name in _MESSAGE_SCALARS:
            set_field(message, name, _MESSAGE_SCALARS[name](reader, value, reader.json_names.get(field, field)))
        else:
            read_unserved_in_message(reader, path, name, value)


def _rename_reasoning(reader: JsonReader, item: dict[str, object], path: str) -> None:
    """Reasoning has two names in use; some servers answer with both."""
    if "reasoning_content" not in item:
        return
    reasoning = item.pop("reasoning_content")
    if item.setdefault("reasoning", reasoning) != reasoning:
        rule = "and `reasoning` are one field; set only one of them, or both to the same text"
        reader.reject(f"{path}.reasoning_content", "invalid_parameter_combination", rule)
    reader.json_names[f"{path}.reasoning"] = f"{path}.reasoning_content"


def _read_parts(reader: JsonReader, value: object, path: str, message: Message) -> None:
    if not isinstance(value, list):
        reader.wrong_type(value, path, "a string or an array of parts")
        return
    message.content_parts.SetInParent()
    for index, item in enumerate(value):
        part = reader.members(item, f"{path}[{index}]")
        if part is not None:
            _read_part(reader, part, f"{path}[{index}]", message.content_parts.parts.add())


def _read_part(reader: JsonReader, item: Mapping[str, object], path: str, part: ContentPart) -> None:
    """A part is `{"type": "text", "text": …}`: the type names the field, in the contract and in JSON."""
    kind = item.get("type")
    if kind is None:
        reader.missing(f"{path}.type")
        return
    if not isinstance(kind, str) or kind not in _PART_SCALARS:
        kinds = " or ".join(map(shown, _PART_SCALARS))
        reader.reject(f"{path}.type", "invalid_value", f"must be {kinds} (the model reads text); got {shown(kind)}")
        return
    if kind in item:
        set_field(part, kind, _PART_SCALARS[kind](reader, item[kind], f"{path}.{kind}"))
    else:
        reader.missing(f"{path}.{kind}")
    reader.ignore(path, (name for name in item if name not in ("type", kind)))


def _read_tool_calls(reader: JsonReader, value: object, path: str, message: Message) -> None:
    for index, item in enumerate(reader.array(value, path) or []):
        call_path = f"{path}[{index}]"
        members = reader.members(item, call_path)
        function = take_function(reader, members, call_path)
        call = message.tool_calls.add()
        reader.fill(call.function, function or {}, f"{call_path}.function", _FUNCTION_SCALARS)
        reader.fill(call, members or {}, call_path, _CALL_SCALARS)
