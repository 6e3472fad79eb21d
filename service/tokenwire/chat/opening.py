"""The two sides of a completion at its beginning: what the caller gets, and what the engine is asked."""

from collections.abc import Callable

from tokenwire.chat.admission.place import Demand
from tokenwire.chat.completion import Acceptance, Completion
from tokenwire.chat.model import ServedModel
from tokenwire.chat.parameters import effective_parameters, priority, sampling_params, service_tier
from tokenwire.chat.preparation import Prepared
from tokenwire.chat.time_limits import TimeLimits
from tokenwire.engine.protocol import GenerationRequest
from tokenwire.v1.chat_pb2 import ChatCompletionRequest


def open_completion(
    acceptance: Acceptance,
    request: ChatCompletionRequest,
    prepared: Prepared,
    *,
    model: ServedModel,
    on_tokens: Callable[[int, float | None], None],
) -> tuple[Completion, GenerationRequest]:
    """Raises as `effective_parameters`. `on_tokens` is told of new tokens: how many, and the seconds for each."""
    prompt = prepared.prompt
    parameters = effective_parameters(
        request,
        prompt_tokens=len(prompt.token_ids),
        context_length=model.info.context_length,
        defaults=model.defaults,
    )
    completion = Completion(
        acceptance,
        request,
        parameters=parameters,
        model=model,
        prompt_token_ids=prompt.token_ids,
        form=prepared.form,
        service_tier=service_tier(request),
        on_tokens=on_tokens,
    )
    generation = GenerationRequest(
        acceptance.id,
        prompt.token_ids,
        sampling_params(request, parameters, grammar=prepared.grammar),
        parameters.n,
        priority=priority(request),
        prompt_logprobs=request.prompt_logprobs if request.HasField("prompt_logprobs") else None,
    )
    return completion, generation


def demand_of(generation: GenerationRequest, limits: TimeLimits) -> Demand:
    """What the queue is told of a request."""
    return Demand(
        prompt_tokens=len(generation.prompt_token_ids),
        max_tokens=generation.sampling.max_tokens,
        priority=generation.priority,
        deadline_s=limits.deadline_s,
    )
