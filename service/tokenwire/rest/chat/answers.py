"""Contract message → JSON: the whole answer, and the parts that answers and stream chunks share."""

import math
from collections.abc import Iterable, Mapping

from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    Choice,
    CompletionState,
    EffectiveParameters,
    FinishReason,
    ServiceTier,
    StoredChatCompletion,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)

JsonObject = dict[str, object]

FINISH_REASONS: Mapping[FinishReason.ValueType, str] = {
    FinishReason.FINISH_REASON_STOP: "stop",
    FinishReason.FINISH_REASON_LENGTH: "length",
    FinishReason.FINISH_REASON_TOOL_CALLS: "tool_calls",
    FinishReason.FINISH_REASON_TIME_LIMIT: "length",
}
MINUS_INFINITY = -9999.0  # JSON has no infinity; this is the value that the OpenAI API uses for it


def completion_json(completion: ChatCompletion, *, logprobs: bool, prompt_logprobs: bool) -> JsonObject:
    """The answer to an unary request; the arguments say which log-probabilities were asked."""
    answer: JsonObject = {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created.seconds,
        "model": completion.model,
        "system_fingerprint": completion.system_fingerprint,
        "service_tier": service_tier_json(completion.service_tier),
        "choices": [_choice_json(choice, logprobs=logprobs) for choice in completion.choices],
        "usage": usage_json(completion.usage),
        "tokenwire": extension_json(completion.parameters),
    }
    return {**answer, "prompt_logprobs": token_logprobs_json(completion.prompt_logprobs)} if prompt_logprobs else answer


def stored_json(stored: StoredChatCompletion) -> JsonObject:
    """A stored or retained completion: the answer as it was given, and what was kept with it; of a live one what there
    is so far."""
    completion = stored.completion
    answer = completion_json(
        completion,
        logprobs=any(choice.logprobs for choice in completion.choices),
        prompt_logprobs=bool(completion.prompt_logprobs),
    )
    extension = {
        **extension_json(completion.parameters),
        "user": stored.user,
        "state": CompletionState.Name(stored.state).removeprefix("COMPLETION_STATE_").lower(),
        "expires_at": stored.expire_time.seconds if stored.HasField("expire_time") else None,
    }
    return {**answer, "metadata": dict(stored.metadata), "tokenwire": extension}


def service_tier_json(tier: ServiceTier.ValueType) -> str:
    """The tier that a completion runs in."""
    return ServiceTier.Name(tier).removeprefix("SERVICE_TIER_").lower()


def usage_json(usage: Usage) -> JsonObject:
    """Token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def logprobs_json(logprobs: Iterable[TokenLogprob]) -> JsonObject:
    """The `logprobs` object of a choice."""
    return {"content": token_logprobs_json(logprobs), "refusal": None}


def token_logprobs_json(logprobs: Iterable[TokenLogprob]) -> list[JsonObject]:
    """Log-probabilities, one entry a token."""
    return [
        {**_token_json(token), "top_logprobs": [_token_json(top) for top in token.top_logprobs]} for token in logprobs
    ]


def extension_json(parameters: EffectiveParameters) -> JsonObject:
    """What the OpenAI API has no place for: the parameters in force, the seed used among them."""
    return {"parameters": {field.name: getattr(parameters, field.name) for field in parameters.DESCRIPTOR.fields}}


def _choice_json(choice: Choice, *, logprobs: bool) -> JsonObject:
    return {
        "index": choice.index,
        "message": _message_json(choice),
        "logprobs": logprobs_json(choice.logprobs) if logprobs else None,
        "finish_reason": FINISH_REASONS.get(choice.finish_reason),  # None: of a live completion that is read
    }


def _message_json(choice: Choice) -> JsonObject:
    """Calls without a text have null content; reasoning and calls are absent where there are none."""
    content = None if choice.tool_calls and not choice.content else choice.content
    message: JsonObject = {"role": "assistant", "content": content, "refusal": None}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
        message["tool_calls"] = [_tool_call_json(call) for call in choice.tool_calls]
    return message


def _tool_call_json(call: ToolCall) -> JsonObject:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _token_json(token: TokenLogprob | TopLogprob) -> JsonObject:
    logprob = token.logprob if math.isfinite(token.logprob) else MINUS_INFINITY
    return {"token": token.token, "logprob": logprob, "bytes": list(token.bytes)}
