"""Messages and tools in the form that Hugging Face's chat templates take, with every text of the caller's marked."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenwire.v1.chat_pb2 import FunctionDefinition, Message, Role, Tool, ToolCall

Conversation = list[dict[str, Any]]
Marker = Callable[[str], str]
"""Keeps a text of the caller's apart from the control tokens of the template."""

ROLES: Mapping["Role.ValueType", str] = {
    Role.ROLE_DEVELOPER: "developer",
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
    Role.ROLE_TOOL: "tool",
}
"""The names that templates know."""

_NO_PARAMETERS = {"type": "object", "properties": {}}
"""Templates look inside the schema without asking whether there is one."""


def conversation_of(
    messages: Sequence[Message],
    *,
    roles: Mapping["Role.ValueType", str],
    mark: Marker,
    call_id: Callable[[str], str],
) -> Conversation:
    """Valid messages. A key is there only where the message has it, but for `content`: templates join strings.

    `call_id` gives the id by which the template knows a tool call.
    """
    functions: dict[str, str] = {}  # tool call id → function name
    conversation = []
    for message in messages:
        item: dict[str, Any] = {"role": roles[message.role], "content": mark(message_text(message))}
        if message.HasField("name"):
            item["name"] = mark(message.name)
        if message.HasField("reasoning"):
            item["reasoning_content"] = mark(message.reasoning)
        if message.tool_calls:
            functions |= {call.id: call.function.name for call in message.tool_calls}
            item["tool_calls"] = [_call(call, mark, call_id) for call in message.tool_calls]
        if message.HasField("tool_call_id"):
            item["tool_call_id"] = mark(call_id(message.tool_call_id))
            item.setdefault("name", mark(functions[message.tool_call_id]))
        conversation.append(item)
    return conversation


def definitions_of(tools: Sequence[Tool], *, mark: Marker) -> Conversation:
    """Valid tools."""
    return [{"type": "function", "function": _definition(tool.function, mark)} for tool in tools]


def mark_json(value: Any, mark: Marker) -> Any:
    """A JSON value with all its strings marked, keys as well."""
    if isinstance(value, str):
        return mark(value)
    if isinstance(value, dict):
        return {mark(key): mark_json(item, mark) for key, item in value.items()}
    if isinstance(value, list):
        return [mark_json(item, mark) for item in value]
    return value


def message_text(message: Message) -> str:
    """All that a message says, as one string: templates of text models join strings."""
    if message.WhichOneof("body") == "content_parts":
        text = "".join(part.text or part.refusal for part in message.content_parts.parts)
    else:
        text = message.content
    return text + message.refusal


def _call(call: ToolCall, mark: Marker, call_id: Callable[[str], str]) -> dict[str, Any]:
    arguments = mark_json(json.loads(call.function.arguments), mark)
    function = {"name": mark(call.function.name), "arguments": arguments}
    return {"id": mark(call_id(call.id)), "type": "function", "function": function}


def _definition(function: FunctionDefinition, mark: Marker) -> dict[str, Any]:
    definition: dict[str, Any] = {"name": mark(function.name)}
    if function.description:
        definition["description"] = mark(function.description)
    parameters = json.loads(function.parameters) if function.parameters else _NO_PARAMETERS
    definition["parameters"] = mark_json(parameters, mark)
    return definition
