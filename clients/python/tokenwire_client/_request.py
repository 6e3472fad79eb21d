"""What callers may pass as prompt and parameters, and the contract's request made of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

import grpc

from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ContentPart, ContentParts, Message, Role
from tokenwire.v1.models_pb2 import ListModelsResponse
from tokenwire_client.errors import FieldViolation, InvalidRequestError, UnavailableError


class ChatParameters(TypedDict, total=False):
    """The parameters of a chat request: every field of `ChatCompletionRequest` but `messages`; None is "not given".

    Meanings, ranges and defaults are those of the contract. The server checks them, all at once.
    """

    model: str | None
    temperature: float | None
    top_p: float | None
    max_completion_tokens: int | None
    stop: str | Sequence[str] | None
    seed: int | None
    n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[int, float] | None
    logprobs: bool | None
    top_logprobs: int | None
    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    stop_token_ids: Sequence[int] | None
    min_tokens: int | None
    ignore_eos: bool | None


class ContentPartDict(TypedDict):
    """One part of a message: `{"type": "text", "text": "…"}` or `{"type": "refusal", "refusal": "…"}`."""

    type: Literal["text", "refusal"]
    text: NotRequired[str]
    refusal: NotRequired[str]


class MessageDict(TypedDict):
    """A message as a dict: `{"role": "user", "content": "hi"}`."""

    role: Literal["developer", "system", "user", "assistant"]
    content: NotRequired[str | Sequence[ContentPartDict]]
    name: NotRequired[str]
    refusal: NotRequired[str]


Prompt = str | Message | Sequence[Message | MessageDict] | ChatCompletionRequest
"""A conversation: what the user says, one message, several, or a whole request."""


def system(content: str) -> Message:
    """Instructions to the model."""
    return Message(role=Role.ROLE_SYSTEM, content=content)


def user(content: str) -> Message:
    """What the user says."""
    return Message(role=Role.ROLE_USER, content=content)


def assistant(content: str) -> Message:
    """What the model said."""
    return Message(role=Role.ROLE_ASSISTANT, content=content)


def chat_request(prompt: Prompt, parameters: ChatParameters) -> ChatCompletionRequest:
    """A new request. Parameters win over those of a whole request given as the prompt.

    Raises `ValueError` for a dict that is no message, `TypeError` for a value of a wrong type.
    """
    given: dict[Any, Any] = {name: value for name, value in parameters.items() if value is not None}
    if isinstance(stop := given.get("stop"), str):
        given["stop"] = [stop]
    parameters_only = ChatCompletionRequest(**given)
    request = ChatCompletionRequest()
    if isinstance(prompt, ChatCompletionRequest):
        request.CopyFrom(prompt)
        for name in given:
            request.ClearField(name)
    else:
        request.messages.extend(_messages(prompt))
    request.MergeFrom(parameters_only)
    return request


def only_model(response: ListModelsResponse) -> str:
    """The name of the only served model: what a request without a model means."""
    names = [model.id for model in response.models]
    if not names:
        message = "no model is served yet"
        raise UnavailableError(message, code=grpc.StatusCode.UNAVAILABLE, reason="MODEL_LOADING")
    if len(names) > 1:
        message = f"`model` must be given, for several are served: {', '.join(sorted(names))}"
        raise InvalidRequestError(
            message,
            code=grpc.StatusCode.INVALID_ARGUMENT,
            reason="FIELD_INVALID",
            violations=(FieldViolation("model", message),),
        )
    return names[0]


def _messages(prompt: str | Message | Sequence[Message | MessageDict]) -> list[Message]:
    if isinstance(prompt, str):
        return [user(prompt)]
    if isinstance(prompt, Message):
        return [prompt]
    return [message if isinstance(message, Message) else _message(message) for message in prompt]


def _message(given: MessageDict) -> Message:
    if unknown := given.keys() - MessageDict.__annotations__.keys():
        raise ValueError(f"a message has no {sorted(unknown)}; it may have {sorted(MessageDict.__annotations__)}")
    message = Message(role=_role(given.get("role")), name=given.get("name"), refusal=given.get("refusal"))
    content = given.get("content")
    if isinstance(content, str):
        message.content = content
    elif content is not None:
        message.content_parts.CopyFrom(ContentParts(parts=[_part(part) for part in content]))
    return message


def _role(name: str | None) -> "Role.ValueType":
    roles = {role.removeprefix("ROLE_").lower(): value for role, value in Role.items() if value}
    if name not in roles:
        raise ValueError(f"`role` must be one of {', '.join(roles)}; got {name!r}")
    return roles[name]


def _part(given: ContentPartDict) -> ContentPart:
    match given:
        case {"type": "text", "text": str(text)}:
            return ContentPart(text=text)
        case {"type": "refusal", "refusal": str(refusal)}:
            return ContentPart(refusal=refusal)
    raise ValueError(f"a content part must be {{'type': 'text', 'text': …}} or a refusal alike; got {given!r}")
