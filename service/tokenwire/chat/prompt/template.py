"""The chat template: a request to prompt text and prompt tokens."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenwire.chat.prompt.conversation import ROLES, Conversation, conversation_of, definitions_of, mark_json
from tokenwire.chat.prompt.tools import as_plain_messages
from tokenwire.chat.prompt.variables import RESERVED_VARIABLES, variables_of
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.chat.tool_choice import active_tools
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, Role

_SHORT_IDS = re.compile(r"\|\s*length\s*!=\s*9\b")
"""What Mistral's templates ask of the ids of tool calls."""


class ChatTemplateError(Exception):
    """The chat template cannot be used; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given."""

    text: str
    token_ids: tuple[int, ...]


class ChatTemplate:
    """A Jinja chat template with its tokenizer. Text of a request that looks like a control token stays text."""

    def __init__(self, source: str, tokenizer: ChatTokenizer) -> None:
        """Raises `ChatTemplateError` where the template cannot render even one plain message."""
        self.source = source
        self._tokenizer = tokenizer
        user = {"role": "user", "content": "Hello"}
        try:
            self._render([user])
        except ChatTemplateError as error:
            raise ChatTemplateError(f"the chat template does not work: {error}; see `--chat-template`") from error
        variables = variables_of(source)
        self._variables = variables - RESERVED_VARIABLES
        self.knows_tools = "tools" in variables
        """Whether it renders tools, their calls and their results. For others they become ordinary messages."""
        self._knows_developer = "developer" in source
        self._knows_system = self._shows_system()
        self._wants_short_ids = _SHORT_IDS.search(source) is not None

    @property
    def sha256(self) -> str:
        """SHA-256 of the template's source, hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def prompt(self, request: ChatCompletionRequest) -> Prompt:
        """Render and tokenise a valid request.

        Raises `InvalidRequestError` on `messages` where the template refuses, and on `chat_template_kwargs` where it
        has no such variable.
        """
        variables = self._template_variables(request)
        mark = self._tokenizer.mark
        roles = ROLES if self._knows_developer else {**ROLES, Role.ROLE_DEVELOPER: "system"}
        conversation = conversation_of(request.messages, roles=roles, mark=mark, call_id=self._call_id)
        tools = definitions_of(active_tools(request), mark=mark)
        if not self.knows_tools:
            conversation, tools = as_plain_messages(conversation, tools, knows_system=self._knows_system), []
        try:
            marked = self._render(conversation, tools, variables)
        except ChatTemplateError as error:
            description = f"the model's chat template does not accept these `messages`: {error}"
            raise InvalidRequestError([Violation("messages", description)]) from error
        token_ids = tuple(self._tokenizer.encode_marked(marked))
        if not token_ids:  # a template without control tokens, and no text
            description = "`messages` must give a prompt of at least 1 token; got 0"
            raise InvalidRequestError([Violation("messages", description)])
        return Prompt(self._tokenizer.unmark(marked), token_ids)

    def _template_variables(self, request: ChatCompletionRequest) -> dict[str, Any]:
        if not request.chat_template_kwargs:
            return {}
        variables: dict[str, Any] = json.loads(request.chat_template_kwargs)
        field = "chat_template_kwargs"
        known = ", ".join(sorted(self._variables)) or "none"
        if unknown := sorted(variables.keys() - self._variables):
            raise InvalidRequestError(
                [
                    Violation(field, f"`{field}`: the model's chat template has no variable {name!r}; it has {known}")
                    for name in unknown
                ]
            )
        return {name: mark_json(value, self._tokenizer.mark) for name, value in variables.items()}

    def _call_id(self, given: str) -> str:
        """The id of a tool call as the template takes it: a short one stands for it where it must."""
        if not self._wants_short_ids or re.fullmatch(r"[A-Za-z0-9]{9}", given):
            return given
        return hashlib.sha256(given.encode()).hexdigest()[:9]

    def _shows_system(self) -> bool:
        """Whether the template takes a system message and tells the model what it says."""
        probe = "A system message."
        try:
            shown = self._render([{"role": "system", "content": probe}, {"role": "user", "content": "Hello"}])
        except ChatTemplateError:
            return False
        return probe in shown

    def _render(
        self, conversation: Conversation, tools: Conversation | None = None, variables: Mapping[str, Any] | None = None
    ) -> str:
        """Raises `ChatTemplateError` with the template's own words."""
        hf: Any = self._tokenizer.hf
        try:
            return str(
                hf.apply_chat_template(
                    conversation,
                    tools=tools or None,
                    chat_template=self.source,
                    tokenize=False,
                    add_generation_prompt=True,
                    **(variables or {}),
                )
            )
        except Exception as error:  # a template is a program of somebody else's: it can raise anything
            raise ChatTemplateError(str(error)) from error


def template_source(hf: Any, override: str | None) -> str:
    """The template to use. Raises `ChatTemplateError` where the model has none."""
    if override is not None:
        return override
    try:
        return str(hf.get_chat_template())
    except ValueError as error:
        raise ChatTemplateError("the model has no chat template; give a file with one as `--chat-template`") from error
