"""OpenAI's published schema of answers, as its Python SDK has it: the SDK's types are generated from the document."""

from collections.abc import Mapping
from functools import cache
from typing import get_args

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.shared import ErrorObject
from pydantic import BaseModel, TypeAdapter

# The SDK's types cannot tell null from absent. These keys are required by the document, and may be null.
_NULL_BUT_PRESENT: Mapping[type[BaseModel], Mapping[str, tuple[str, ...]]] = {
    ChatCompletion: {
        "Choice": ("logprobs",),
        "ChatCompletionMessage": ("content", "refusal"),
        "ChoiceLogprobs": ("content", "refusal"),
        "ChatCompletionTokenLogprob": ("bytes",),
        "TopLogprob": ("bytes",),
    },
    ChatCompletionChunk: {"Choice": ("finish_reason",), "ChoiceLogprobs": ("content", "refusal")},
    Completion: {"CompletionChoice": ("logprobs",)},
    Response: {
        "Response": ("error", "incomplete_details", "instructions", "metadata", "temperature", "top_p"),
        "FunctionTool": ("strict", "parameters"),
        "ResponseOutputText": ("logprobs",),
    },
    ErrorObject: {"ErrorObject": ("code", "param")},
}


def must_conform(value: object, kind: type[BaseModel]) -> None:
    """The JSON value is one of this kind, and nothing in it has to be converted. Further keys are allowed, as in the
    document."""
    error = best_match(_validator(kind).iter_errors(value))
    assert error is None, str(error)


def must_be_event(event: Mapping[str, object]) -> None:
    """The JSON object is an event of a streamed response, of the kind that it says."""
    must_conform(event, _event_kinds()[str(event["type"])])


@cache
def _validator(kind: type[BaseModel]) -> Draft202012Validator:
    schema = TypeAdapter(kind).json_schema()
    parts = {kind.__name__: schema, **schema.get("$defs", {})}
    for name, keys in _NULL_BUT_PRESENT.get(kind, {}).items():
        parts[name]["required"] = [*parts[name].get("required", ()), *keys]
    return Draft202012Validator(schema)


@cache
def _event_kinds() -> dict[str, type[BaseModel]]:
    union, *_ = get_args(ResponseStreamEvent)
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(union)}
