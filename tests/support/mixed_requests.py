"""A dozen requests that use all that an engine can do, and their answers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tokenwire.engine.protocol import FinishReason, GenerationRequest, SamplingParams, SequenceOutput, TokenLogprobs

PROMPT = (*range(20, 45), 20, 21, 22)
LONG_PROMPT = tuple(7 + 13 * i % 480 for i in range(200))
_PLAIN = SamplingParams(seed=1, max_tokens=60, ignore_eos=True, top_logprobs=1)
_JSON = {"type": "array", "items": {"enum": ["one", "two", "three"]}, "minItems": 4, "maxItems": 8}


@dataclass(frozen=True)
class Answer:
    """All that came of one sequence."""

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprobs, ...]
    prompt_logprobs: tuple[TokenLogprobs, ...]
    finish_reason: FinishReason | None


Answers = Mapping[tuple[str, int], Answer]
"""By request id and index."""


def mixed_requests() -> list[GenerationRequest]:
    """Each has a name for an id."""
    sampled = replace(_PLAIN, temperature=1.3)
    requests = {
        "greedy": replace(_PLAIN, temperature=0.0),
        "sampled": sampled,
        "cut by rank": replace(sampled, top_k=20, top_p=0.9, min_p=0.01),
        "penalised": replace(sampled, frequency_penalty=0.7, presence_penalty=0.5, repetition_penalty=1.2),
        "repeating": replace(_PLAIN, logit_bias=((30, 30.0), (31, 30.0))),
        "grammar": replace(sampled, grammar=f"start: %json {json.dumps(_JSON)}"),
        "without words": replace(sampled, bad_words=(b"a", b"e", b" t")),
        "late end": replace(sampled, ignore_eos=False, min_tokens=30, stop_token_ids=tuple(range(100, 200))),
        "without log-probabilities": replace(sampled, top_logprobs=None, max_tokens=90),
    }
    plain = [GenerationRequest(name, PROMPT, sampling) for name, sampling in requests.items()]
    return [
        *plain,
        GenerationRequest("many", PROMPT, replace(sampled, seed=-(1 << 63)), n=4),
        GenerationRequest("many by grammar", LONG_PROMPT[:50], requests["grammar"], n=2),
        GenerationRequest("scored", LONG_PROMPT, sampled, n=2, prompt_logprobs=2),
        GenerationRequest("urgent", LONG_PROMPT[:90], sampled, priority=5),
    ]


def sequences(requests: Iterable[GenerationRequest]) -> set[tuple[str, int]]:
    """Request id and index of all of their sequences."""
    return {(request.request_id, index) for request in requests for index in range(request.n)}


def gather(outputs: Iterable[SequenceOutput]) -> Answers:
    """The answers that outputs make up."""
    parts: dict[tuple[str, int], list[SequenceOutput]] = {}
    for output in outputs:
        parts.setdefault((output.request_id, output.index), []).append(output)
    return {
        key: Answer(
            tuple(token_id for output in each for token_id in output.token_ids),
            tuple(logprobs for output in each for logprobs in output.logprobs),
            tuple(logprobs for output in each for logprobs in output.prompt_logprobs),
            each[-1].finish_reason,
        )
        for key, each in parts.items()
    }
