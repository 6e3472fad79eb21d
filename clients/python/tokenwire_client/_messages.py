"""The messages of a conversation: what callers may pass, and the contract's messages made of it."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from tokenwire.v1.chat_pb2 import (
    Choice,
    ContentPart,
    ContentParts,
    FunctionCall,
    Message,
    RawPrompt,
    Role,
    TokenIds,
    ToolCall,
)
from tokenwire_client._dicts import enum_value, refuse_unknown_keys


class ContentPartDict(TypedDict):
    """One part of a message: `{"type": "text", "text": "…"}` or `{"type": "refusal", "refusal": "…"}`."""

    type: Literal["text", "refusal"]
    text: NotRequired[str]
    refusal: NotRequired[str]


class FunctionCallDict(TypedDict):
    """A call of a function; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class ToolCallDict(TypedDict):
    """A call that the assistant made: `{"id": "…", "type": "function", "function": {"name": …, "arguments": …}}`."""

    id: str
    type: Literal["function"]
    function: FunctionCallDict


class MessageDict(TypedDict):
    """A message as a dict: `{"role": "user", "content": "hi"}`."""

    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: NotRequired[str | Sequence[ContentPartDict] | None]
    name: NotRequired[str]
    refusal: NotRequired[str | None]
    tool_calls: NotRequired[Sequence[ToolCall | ToolCallDict]]
    tool_call_id: NotRequired[str]
    reasoning: NotRequired[str]


def system(content: str) -> Message:
    """Instructions to the model."""
    return Message(role=Role.ROLE_SYSTEM, content=content)


def user(content: str) -> Message:
    """What the user says."""
    return Message(role=Role.ROLE_USER, content=content)


def assistant(said: str | Choice) -> Message:
    """What the model said: a text, or one of its answers with the tool calls and the reasoning in it."""
    if isinstance(said, str):
        return Message(role=Role.ROLE_ASSISTANT, content=said)
    message = Message(role=Role.ROLE_ASSISTANT, tool_calls=said.tool_calls, reasoning=said.reasoning or None)
    if said.content or not said.tool_calls:
        message.content = said.content
    return message


def tool(content: str, tool_call_id: str) -> Message:
    """What a tool call gave; `tool_call_id` is the `id` of the call."""
    return Message(role=Role.ROLE_TOOL, content=content, tool_call_id=tool_call_id)


def raw(prompt: str | Sequence[int]) -> RawPrompt:
    """A prompt as it stands, without the chat template: a text, or token ids."""
    return RawPrompt(text=prompt) if isinstance(prompt, str) else RawPrompt(token_ids=TokenIds(ids=prompt))


def to_message(given: Message | MessageDict) -> Message:
    """Raises `ValueError` for a dict that is no message, `TypeError` for a value of a wrong type."""
    if isinstance(given, Message):
        return given
    refuse_unknown_keys(given, MessageDict.__annotations__, what="a message")
    message = Message(
        role=enum_value(Role.items(), given.get("role"), field="role"),
        name=given.get("name"),
        refusal=given.get("refusal"),
        tool_calls=[_tool_call(call) for call in given.get("tool_calls") or ()],
        tool_call_id=given.get("tool_call_id"),
        reasoning=given.get("reasoning"),
    )
    content = given.get("content")
    if isinstance(content, str):
        message.content = content
    elif content is not None:
        message.content_parts.CopyFrom(ContentParts(parts=[_part(part) for part in content]))
    return message


def _part(given: ContentPartDict) -> ContentPart:
    match given:
        case {"type": "text", "text": str(text)}:
            return ContentPart(text=text)
        case {"type": "refusal", "refusal": str(refusal)}:
            return ContentPart(refusal=refusal)
    raise ValueError(f"a content part must be {{'type': 'text', 'text': …}} or a refusal alike; got {given!r}")


def _tool_call(given: ToolCall | ToolCallDict) -> ToolCall:
    if isinstance(given, ToolCall):
        return given
    match given:
        case {"id": str(call_id), "type": "function", "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(id=call_id, function=FunctionCall(name=name, arguments=arguments))
    form = "{'id': …, 'type': 'function', 'function': {'name': …, 'arguments': '{}'}}"
    raise ValueError(f"a tool call must be {form}; got {given!r}")
