"""The rules of what a request is about: a conversation, or a raw prompt."""

from collections.abc import Iterator

from tokenwire.chat.validation.messages import check_messages
from tokenwire.chat.validation.rules import check_token_ids, missing
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

_TEMPLATE_FIELDS = ("messages", "tools", "tool_choice", "chat_template_kwargs")
"""What reaches the model through the chat template only."""


def check_prompt(request: ChatCompletionRequest, vocabulary_size: int) -> Iterator[Violation]:
    """Every violation in the messages, or in the raw prompt that stands in their place."""
    if not request.HasField("raw_prompt"):
        yield from check_messages(request.messages)
        return
    given = {field.name for field, _ in request.ListFields()}
    for field in _TEMPLATE_FIELDS:
        if field in given:
            description = f"`{field}` is not allowed beside `raw_prompt`, which no chat template is put around"
            yield Violation(field, description, "invalid_parameter_combination")
    match request.raw_prompt.WhichOneof("prompt"):
        case None:
            yield missing("raw_prompt.prompt")
        case "token_ids":
            yield from check_token_ids("raw_prompt.token_ids.ids", request.raw_prompt.token_ids.ids, vocabulary_size)
