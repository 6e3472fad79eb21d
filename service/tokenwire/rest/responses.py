"""Contract message → JSON: the whole answer, and the parts that answers and stream chunks share."""

import math
from collections.abc import Iterable, Mapping

from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    Choice,
    EffectiveParameters,
    FinishReason,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from tokenwire.v1.models_pb2 import Model

JsonObject = dict[str, object]

FINISH_REASONS: Mapping[FinishReason.ValueType, str] = {
    FinishReason.FINISH_REASON_STOP: "stop",
    FinishReason.FINISH_REASON_LENGTH: "length",
}
_MINUS_INFINITY = -9999.0  # JSON has no infinity; this is the value that the OpenAI API uses for it


def completion_json(completion: ChatCompletion, *, logprobs: bool) -> JsonObject:
    """The answer to an unary request; `logprobs` says whether they were asked."""
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created.seconds,
        "model": completion.model,
        "system_fingerprint": completion.system_fingerprint,
        "choices": [_choice_json(choice, logprobs=logprobs) for choice in completion.choices],
        "usage": usage_json(completion.usage),
        "tokenwire": extension_json(completion.parameters),
    }


def usage_json(usage: Usage) -> JsonObject:
    """Token counts. There are no reasoning tokens yet; SDKs want the field."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def logprobs_json(logprobs: Iterable[TokenLogprob]) -> JsonObject:
    """The `logprobs` object of a choice."""
    content = [
        {**_token_json(token), "top_logprobs": [_token_json(top) for top in token.top_logprobs]} for token in logprobs
    ]
    return {"content": content, "refusal": None}


def extension_json(parameters: EffectiveParameters) -> JsonObject:
    """What the OpenAI API has no place for: the parameters in force, the seed used among them."""
    return {"parameters": {field.name: getattr(parameters, field.name) for field in parameters.DESCRIPTOR.fields}}


def model_json(model: Model) -> JsonObject:
    """An entry of the list of models."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created.seconds,
        "owned_by": "tokenwire",
        "tokenwire": {
            "system_fingerprint": model.system_fingerprint,
            "architecture": model.architecture,
            "dtype": model.dtype,
            "context_length": model.context_length,
            "vocabulary_size": model.vocabulary_size,
        },
    }


def _choice_json(choice: Choice, *, logprobs: bool) -> JsonObject:
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.content, "refusal": None},
        "logprobs": logprobs_json(choice.logprobs) if logprobs else None,
        "finish_reason": FINISH_REASONS[choice.finish_reason],
    }


def _token_json(token: TokenLogprob | TopLogprob) -> JsonObject:
    logprob = token.logprob if math.isfinite(token.logprob) else _MINUS_INFINITY
    return {"token": token.token, "logprob": logprob, "bytes": list(token.bytes)}
