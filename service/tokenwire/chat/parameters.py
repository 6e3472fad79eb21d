"""The parameters in force: those of the request, the defaults, the drawn seed and the room that the prompt leaves."""

import secrets

from tokenwire.chat.defaults import API_DEFAULTS
from tokenwire.chat.validation.request import Range
from tokenwire.engine.protocol import SamplingParams
from tokenwire.errors import ContextLengthError, InvalidRequestError
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, EffectiveParameters, ServiceTier

_TIER_PRIORITIES = {
    ServiceTier.SERVICE_TIER_FLEX: -10,
    ServiceTier.SERVICE_TIER_DEFAULT: 0,
    ServiceTier.SERVICE_TIER_PRIORITY: 10,
}

_PLAIN_FIELDS = (
    "temperature",
    "top_p",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
)


def effective_parameters(
    request: ChatCompletionRequest,
    *,
    prompt_tokens: int,
    context_length: int,
    defaults: EffectiveParameters = API_DEFAULTS,
) -> EffectiveParameters:
    """Resolve a valid request; `defaults` hold where it sets nothing.

    Raises `ContextLengthError` where prompt and answer do not fit the context, `InvalidRequestError` where
    `min_tokens` does not.
    """
    room = context_length - prompt_tokens
    given = request.max_completion_tokens if request.HasField("max_completion_tokens") else None
    asked = room if given is None else given
    if asked > room or room < 1:
        raise ContextLengthError(
            prompt_tokens=prompt_tokens, max_completion_tokens=given, context_length=context_length
        )
    if violation := Range(0, asked).violation("min_tokens", request.min_tokens):
        raise InvalidRequestError([violation])
    parameters = EffectiveParameters()
    parameters.CopyFrom(defaults)
    parameters.max_completion_tokens = asked
    parameters.seed = request.seed if request.HasField("seed") else secrets.randbits(52)  # exact in every JSON reader
    for field in _PLAIN_FIELDS:
        if request.HasField(field):  # type: ignore[arg-type]
            setattr(parameters, field, getattr(request, field))
    return parameters


def service_tier(request: ChatCompletionRequest) -> ServiceTier.ValueType:
    """The tier that the request runs in."""
    return request.service_tier if request.service_tier in _TIER_PRIORITIES else ServiceTier.SERVICE_TIER_DEFAULT


def priority(request: ChatCompletionRequest) -> int:
    """The priority that the request runs with: its own, or that of its tier."""
    policy = request.execution_policy
    return policy.priority if policy.HasField("priority") else _TIER_PRIORITIES[service_tier(request)]


def sampling_params(
    request: ChatCompletionRequest, parameters: EffectiveParameters, *, grammar: str | None
) -> SamplingParams:
    """What the engine is told: the parameters in force, what they leave out, and the grammar of the answer."""
    return SamplingParams(
        seed=parameters.seed,
        max_tokens=parameters.max_completion_tokens,
        temperature=parameters.temperature,
        top_p=parameters.top_p,
        top_k=parameters.top_k,
        min_p=parameters.min_p,
        frequency_penalty=parameters.frequency_penalty,
        presence_penalty=parameters.presence_penalty,
        repetition_penalty=parameters.repetition_penalty,
        logit_bias=tuple(sorted(request.logit_bias.items())),
        min_tokens=parameters.min_tokens,
        ignore_eos=request.ignore_eos,
        stop_token_ids=tuple(request.stop_token_ids),
        top_logprobs=request.top_logprobs if request.logprobs else None,
        bad_words=tuple(word.encode() for word in request.bad_words),
        grammar=grammar,
    )
