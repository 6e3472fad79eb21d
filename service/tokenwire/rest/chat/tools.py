"""JSON tools, and the choice among them, → contract."""

from collections.abc import Mapping

from tokenwire.rest.json_reader import JsonReader, ScalarReader, enum_words, scalar_readers, set_field, shown
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, FunctionDefinition, ToolChoiceMode

_FUNCTION_FIELDS: Mapping[str, ScalarReader] = {
    **scalar_readers(FunctionDefinition),
    "parameters": JsonReader.json_text,
}
_MODES = enum_words(ToolChoiceMode.items(), prefix="TOOL_CHOICE_MODE_")


def read_tools(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Read `tools`."""
    for index, item in enumerate(reader.array(value, "tools") or []):
        path = f"tools[{index}]"
        members = reader.members(item, path)
        function = take_function(reader, members, path)
        reader.fill(request.tools.add().function, function or {}, f"{path}.function", _FUNCTION_FIELDS)
        reader.ignore(path, members or {})


def read_tool_choice(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Read `tool_choice`: a word, or the function to call."""
    if isinstance(value, dict):
        _read_named(reader, reader.members(value, "tool_choice"), request)
    elif isinstance(value, str):
        set_field(request.tool_choice, "mode", reader.one_of(value, "tool_choice", _MODES))
    else:
        reader.wrong_type(value, "tool_choice", "a string or an object")


def take_function(reader: JsonReader, item: dict[str, object] | None, path: str) -> dict[str, object] | None:
    """Take `type` and `function` out of `{"type": "function", "function": {…}}` and return the members of the latter;
    None where that is refused. There is no other type, so it may be left out."""
    if item is None:
        return None
    kind, function = item.pop("type", "function"), item.pop("function", None)
    if kind != "function":
        reader.reject(f"{path}.type", "invalid_value", f'must be "function"; got {shown(kind)}')
        return None
    if function is None:
        reader.missing(f"{path}.function")
        return None
    return reader.members(function, f"{path}.function")


def _read_named(reader: JsonReader, choice: dict[str, object] | None, request: ChatCompletionRequest) -> None:
    path = "tool_choice.function"
    function = take_function(reader, choice, "tool_choice")
    if function is None:
        return
    name = function.pop("name", None)
    if name is None:
        reader.missing(f"{path}.name")
    else:
        set_field(request.tool_choice, "function_name", reader.string(name, f"{path}.name"))
    reader.ignore(path, function)
    reader.ignore("tool_choice", choice or {})
