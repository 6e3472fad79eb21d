"""`text`, `tools` and `tool_choice` of a JSON body → contract. They are those of a chat completion, written flat."""

from tokenwire.rest.chat.response_format import read_response_format
from tokenwire.rest.chat.tools import read_tool_choice as read_chat_tool_choice
from tokenwire.rest.chat.tools import read_tools as read_chat_tools
from tokenwire.rest.chat.unserved import refuse_unless
from tokenwire.rest.json_reader import JsonReader, shown
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

JsonObject = dict[str, object]

_VERBOSITY = "medium"


def read_text(reader: JsonReader, value: object, request: ChatCompletionRequest) -> JsonObject:
    """Read `text`; returns it with its defaults."""
    members = reader.members(value, "text") or {}
    refuse_unless(reader, "text.verbosity", members.pop("verbosity", _VERBOSITY), neutral=(_VERBOSITY,))
    form: JsonObject = {"type": "text"}
    if "format" in members:
        form = _read_format(reader, members.pop("format"), request)
    reader.ignore("text", members)
    return {"format": {"name": "", **form} if form.get("type") == "json_schema" else form, "verbosity": _VERBOSITY}


def _read_format(reader: JsonReader, value: object, request: ChatCompletionRequest) -> JsonObject:
    form = reader.members(value, "text.format")
    if form is None:
        return {}
    nested = form
    if form.get("type") == "json_schema":
        schema = {name: item for name, item in form.items() if name != "type"}
        nested = {"type": "json_schema", "json_schema": schema}
    read_response_format(reader, nested, request)
    return form


def read_tools(reader: JsonReader, value: object, request: ChatCompletionRequest) -> list[JsonObject]:
    """Read `tools`; returns them with their defaults."""
    tools: list[JsonObject] = []
    for index, item in enumerate(reader.array(value, "tools") or []):
        path = f"tools[{index}]"
        members = reader.members(item, path)
        tools.append({} if members is None else members)  # the others keep their places
        if members is None:
            continue
        if (kind := members.pop("type", "function")) != "function":
            rule = f'must be "function": the caller runs the tools, this server has none; got {shown(kind)}'
            reader.reject(f"{path}.type", "unsupported_parameter", rule)
            members.clear()
        elif "name" not in members:
            reader.missing(f"{path}.name")
    read_chat_tools(reader, [{"type": "function", "function": members} for members in tools], request)
    return [{"type": "function", "description": None, "parameters": None, "strict": False, **tool} for tool in tools]


def read_tool_choice(reader: JsonReader, value: object, request: ChatCompletionRequest) -> None:
    """Read `tool_choice`: a word, or the function to call."""
    if not isinstance(value, dict):
        read_chat_tool_choice(reader, value, request)
        return
    function = dict(value)
    if (kind := function.pop("type", "function")) != "function":
        rule = f'must be "function", or `tool_choice` a string; got {shown(kind)}'
        reader.reject("tool_choice.type", "unsupported_parameter", rule)
        return
    read_chat_tool_choice(reader, {"type": "function", "function": function}, request)
