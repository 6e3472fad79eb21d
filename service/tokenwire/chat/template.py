"""The chat template: messages to prompt text and prompt tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import Message, Role

_ROLES = {
    Role.ROLE_DEVELOPER: "developer",
    Role.ROLE_SYSTEM: "system",
    Role.ROLE_USER: "user",
    Role.ROLE_ASSISTANT: "assistant",
}


class ChatTemplateError(Exception):
    """The chat template cannot be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given."""

    text: str
    token_ids: tuple[int, ...]


class ChatTemplate:
    """A Jinja chat template with its tokenizer. Text in messages that looks like a control token stays text."""

    def __init__(self, source: str, tokenizer: ChatTokenizer) -> None:
        """Raises `ChatTemplateError` where the template cannot render even one plain message."""
        self._source = source
        self._tokenizer = tokenizer
        self._knows_developer = "developer" in source
        try:
            self._render([{"role": "user", "content": "Hello"}])
        except (TemplateError, TypeError, ValueError) as error:
            raise ChatTemplateError(f"the chat template does not work: {error}; see `--chat-template`") from error

    @property
    def sha256(self) -> str:
        """SHA-256 of the template's source, hexadecimal."""
        return hashlib.sha256(self._source.encode()).hexdigest()

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """Render and tokenise valid messages. Raises `InvalidRequestError` on `messages` where the template refuses."""
        try:
            marked = self._render([self._conversation_item(message) for message in messages])
        except (TemplateError, TypeError, ValueError) as error:
            description = f"the model's chat template does not accept these `messages`: {error}"
            raise InvalidRequestError([Violation("messages", description)]) from error
        token_ids = tuple(self._tokenizer.encode_marked(marked))
        if not token_ids:  # a template without control tokens, and no text
            description = "`messages` must give a prompt of at least 1 token; got 0"
            raise InvalidRequestError([Violation("messages", description)])
        return Prompt(self._tokenizer.unmark(marked), token_ids)

    def _conversation_item(self, message: Message) -> dict[str, str]:
        role = _ROLES[message.role]
        if role == "developer" and not self._knows_developer:
            role = "system"
        item = {"role": role, "content": self._tokenizer.mark(message_text(message))}
        if message.HasField("name"):
            item["name"] = message.name
        return item

    def _render(self, conversation: list[dict[str, str]]) -> str:
        hf: Any = self._tokenizer.hf
        return str(
            hf.apply_chat_template(conversation, chat_template=self._source, tokenize=False, add_generation_prompt=True)
        )


def message_text(message: Message) -> str:
    """All that a message says, as one string: templates of text models join strings."""
    if message.WhichOneof("body") == "content_parts":
        text = "".join(part.text or part.refusal for part in message.content_parts.parts)
    else:
        text = message.content
    return text + message.refusal


def template_source(hf: Any, override: str | None) -> str:
    """The template to use. Raises `ChatTemplateError` where the model has none."""
    if override is not None:
        return override
    try:
        return str(hf.get_chat_template())
    except ValueError as error:
        raise ChatTemplateError("the model has no chat template; give a file with one as `--chat-template`") from error
