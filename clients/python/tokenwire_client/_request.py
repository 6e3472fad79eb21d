"""What callers may pass as prompt and parameters, and the contract's request made of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict
from uuid import uuid4

import grpc

from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    ChatCompletionRequest,
    ExecutionPolicy,
    Message,
    RawPrompt,
    ResponseFormat,
    ServiceTier,
    Tool,
    ToolChoice,
)
from tokenwire.v1.models_pb2 import ListModelsResponse
from tokenwire_client._dicts import enum_value, json_text
from tokenwire_client._execution_policy import ExecutionPolicyDict, to_execution_policy
from tokenwire_client._messages import MessageDict, to_message, user
from tokenwire_client._response_format import ResponseFormatDict, to_response_format
from tokenwire_client._tools import ToolChoiceDict, ToolChoiceName, ToolDict, to_tool, to_tool_choice
from tokenwire_client.errors import FieldViolation, InvalidRequestError, ModelLoadingError


class ChatParameters(TypedDict, total=False):
    """The parameters of a chat request: every field of `ChatCompletionRequest` but the prompt; None is "not given".

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
    bad_words: Sequence[str] | None
    tools: Sequence[Tool | ToolDict] | None
    tool_choice: ToolChoice | ToolChoiceName | ToolChoiceDict | None
    parallel_tool_calls: bool | None
    response_format: ResponseFormat | ResponseFormatDict | None
    chat_template_kwargs: Mapping[str, Any] | str | None
    prompt_logprobs: int | None
    service_tier: "ServiceTier.ValueType | Literal['auto', 'default', 'flex', 'priority'] | None"
    execution_policy: ExecutionPolicy | ExecutionPolicyDict | None
    metadata: Mapping[str, str] | None
    user: str | None
    store: bool | None
    request_id: str | None


Prompt = str | Message | Sequence[Message | MessageDict] | RawPrompt | ChatCompletionRequest
"""A conversation: what the user says, one message, several; a prompt as it stands, without chat template; or a whole
request."""


def chat_request(prompt: Prompt, parameters: ChatParameters) -> ChatCompletionRequest:
    """A new request. Parameters win over those of a whole request given as the prompt.

    Raises `ValueError` for a dict that is no message, tool or response format, and for a name that no enum has;
    `TypeError` for a value of a wrong type.
    """
    given: dict[Any, Any] = {
        name: _CONVERTERS[name](value) if name in _CONVERTERS else value
        for name, value in parameters.items()
        if value is not None
    }
    parameters_only = ChatCompletionRequest(**given)
    request = ChatCompletionRequest()
    if isinstance(prompt, ChatCompletionRequest):
        request.CopyFrom(prompt)
        for name in given:
            request.ClearField(name)
    elif isinstance(prompt, RawPrompt):
        request.raw_prompt.CopyFrom(prompt)
    else:
        request.messages.extend(_messages(prompt))
    request.MergeFrom(parameters_only)
    return request


def identify(request: ChatCompletionRequest) -> ChatCompletionRequest:
    """The request, with an id: sent again, it attaches to its completion instead of beginning another one."""
    if not request.request_id:
        request.request_id = str(uuid4())
    return request


def cancel_request(completion_id: str | None, request_id: str | None) -> CancelChatCompletionRequest:
    """Raises `ValueError` unless one of the two is given."""
    if (completion_id is None) == (request_id is None):
        raise ValueError("give `completion_id` or `request_id`")
    if completion_id is None:
        return CancelChatCompletionRequest(request_id=request_id or "")
    return CancelChatCompletionRequest(completion_id=completion_id)


def only_model(response: ListModelsResponse) -> str:
    """The name of the only served model: what a request without a model means."""
    names = [model.id for model in response.models]
    if not names:
        message = "no model is served yet"
        raise ModelLoadingError(message, code=grpc.StatusCode.UNAVAILABLE, reason="MODEL_LOADING")
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
    return [to_message(message) for message in prompt]


def _service_tier(given: int | str) -> int:
    return given if isinstance(given, int) else enum_value(ServiceTier.items(), given, field="service_tier")


_CONVERTERS: Mapping[str, Callable[[Any], object]] = {
    "stop": lambda stop: [stop] if isinstance(stop, str) else stop,
    "tools": lambda tools: [to_tool(tool) for tool in tools],
    "tool_choice": to_tool_choice,
    "response_format": to_response_format,
    "chat_template_kwargs": json_text,
    "service_tier": _service_tier,
    "execution_policy": to_execution_policy,
}
"""Of the parameters that may be given in other forms than the contract's."""
