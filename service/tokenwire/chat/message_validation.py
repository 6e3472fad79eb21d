"""The rules of the messages of a request."""

from collections.abc import Iterator, Sequence

from tokenwire.chat.rules import MISSING, check_name, missing
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ContentPart, Message, Role


def check_messages(messages: Sequence[Message]) -> Iterator[Violation]:
    """Every violation in a conversation."""
    if not messages:
        yield Violation("messages", "`messages` must have at least 1 message; got 0", "empty_array")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        yield from _check_role(path, message)
        yield from _check_content(path, message)
        if message.HasField("name"):
            yield from check_name(f"{path}.name", message.name)


def _check_role(path: str, message: Message) -> Iterator[Violation]:
    if message.role == Role.ROLE_UNSPECIFIED:
        yield missing(f"{path}.role")
    elif message.role not in Role.values():
        yield Violation(f"{path}.role", f"`{path}.role` must be a known role; got {message.role}")
    if message.HasField("refusal") and message.role != Role.ROLE_ASSISTANT:
        yield _only_assistant(f"{path}.refusal", message)


def _check_content(path: str, message: Message) -> Iterator[Violation]:
    if message.WhichOneof("body") == "content_parts":
        parts = f"{path}.content_parts.parts"
        if not message.content_parts.parts:
            yield Violation(parts, f"`{parts}` must have at least 1 part; got 0", "empty_array")
        for index, part in enumerate(message.content_parts.parts):
            yield from _check_part(f"{parts}[{index}]", part, message)
    elif message.WhichOneof("body") is None and not (
        message.role == Role.ROLE_ASSISTANT and message.HasField("refusal")
    ):
        yield missing(f"{path}.content")


def _check_part(path: str, part: ContentPart, message: Message) -> Iterator[Violation]:
    kind = part.WhichOneof("part")
    if kind is None:
        yield Violation(path, f"`{path}` must have `text` or `refusal`", MISSING)
    elif kind == "refusal" and message.role != Role.ROLE_ASSISTANT:
        yield _only_assistant(f"{path}.refusal", message)


def _only_assistant(path: str, message: Message) -> Violation:
    role = Role.Name(message.role) if message.role in Role.values() else message.role
    return Violation(path, f"`{path}` is only allowed in messages of ROLE_ASSISTANT; got {role}")
