"""The rules of the messages of a request."""

from collections.abc import Container, Iterator, Sequence

from tokenwire.chat.validation.json_text import parse_json_object
from tokenwire.chat.validation.limits import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH
from tokenwire.chat.validation.rules import MISSING, check_name, missing
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ContentPart, Message, Role, ToolCall


def check_messages(messages: Sequence[Message]) -> Iterator[Violation]:
    """Every violation in a conversation."""
    if not messages:
        yield Violation("messages", "`messages` must have at least 1 message; got 0", "empty_array")
    call_ids: set[str] = set()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        yield from _check_role(path, message)
        yield from _check_content(path, message)
        if message.HasField("name"):
            yield from check_name(f"{path}.name", message.name)
        yield from _check_tool_calls(f"{path}.tool_calls", message)
        yield from _check_tool_call_id(f"{path}.tool_call_id", message, call_ids)
        call_ids.update(call.id for call in message.tool_calls)


def _check_role(path: str, message: Message) -> Iterator[Violation]:
    if message.role == Role.ROLE_UNSPECIFIED:
        yield missing(f"{path}.role")
    elif message.role not in Role.values():
        yield Violation(f"{path}.role", f"`{path}.role` must be a known role; got {message.role}")
    if message.role != Role.ROLE_ASSISTANT:
        for field, is_set in {
            "refusal": message.HasField("refusal"),
            "reasoning": message.HasField("reasoning"),
            "tool_calls": len(message.tool_calls) > 0,
        }.items():
            if is_set:
                yield _only(Role.ROLE_ASSISTANT, f"{path}.{field}", message)


def _check_content(path: str, message: Message) -> Iterator[Violation]:
    if message.WhichOneof("body") == "content_parts":
        parts = f"{path}.content_parts.parts"
        if not message.content_parts.parts:
            yield Violation(parts, f"`{parts}` must have at least 1 part; got 0", "empty_array")
        for index, part in enumerate(message.content_parts.parts):
            yield from _check_part(f"{parts}[{index}]", part, message)
    elif message.WhichOneof("body") is None and not (
        message.role == Role.ROLE_ASSISTANT and (message.HasField("refusal") or message.tool_calls)
    ):
        yield missing(f"{path}.content")


def _check_part(path: str, part: ContentPart, message: Message) -> Iterator[Violation]:
    kind = part.WhichOneof("part")
    if kind is None:
        yield Violation(path, f"`{path}` must have `text` or `refusal`", MISSING)
    elif kind == "refusal" and message.role != Role.ROLE_ASSISTANT:
        yield _only(Role.ROLE_ASSISTANT, f"{path}.refusal", message)


def _check_tool_calls(path: str, message: Message) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, call in enumerate(message.tool_calls):
        field = f"{path}[{index}]"
        if not call.id:
            yield missing(f"{field}.id")
        elif call.id in seen:
            yield Violation(f"{field}.id", f"`{field}.id` must differ from those of the calls before; got {call.id!r}")
        seen.add(call.id)
        yield from _check_function_call(f"{field}.function", call)


def _check_function_call(path: str, call: ToolCall) -> Iterator[Violation]:
    if not call.HasField("function"):
        yield missing(path)
        return
    yield from check_name(f"{path}.name", call.function.name)
    field, text = f"{path}.arguments", call.function.arguments
    if not text:
        yield missing(field)
        return
    arguments = parse_json_object(field, text, max_bytes=MAX_SCHEMA_BYTES, max_depth=MAX_SCHEMA_DEPTH)
    if isinstance(arguments, Violation):
        yield arguments


def _check_tool_call_id(path: str, message: Message, call_ids: Container[str]) -> Iterator[Violation]:
    if message.role != Role.ROLE_TOOL:
        if message.HasField("tool_call_id"):
            yield _only(Role.ROLE_TOOL, path, message)
    elif not message.tool_call_id:
        yield missing(path)
    elif message.tool_call_id not in call_ids:
        description = f"`{path}` must be the id of a tool call of an earlier message; got {message.tool_call_id!r}"
        yield Violation(path, description)


def _only(role: "Role.ValueType", path: str, message: Message) -> Violation:
    given = Role.Name(message.role) if message.role in Role.values() else message.role
    return Violation(path, f"`{path}` is only allowed in messages of {Role.Name(role)}; got {given}")
