"""Sampling in plain Python and float64, from the definitions: slow, short, and sharing no code with the engine.

Noise: SplitMix64 (Steele, Lea, Flood 2014) for the key of (seed, position), MurmurHash3's finaliser for the token id,
and two keyed rounds. Repetition penalty: CTRL (arXiv:1909.05858). Top-p: arXiv:1904.09751. Min-p: arXiv:2407.01082.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from tokenwire.engine.protocol import SamplingParams

_MASK32 = 2**32 - 1
_MASK64 = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15


def _split_mix64(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK64
    return x ^ x >> 31


def noise_word(seed: int, position: int, token_id: int) -> int:
    """The hash of one token at one position, as an int32."""
    stream = _split_mix64((seed + _GAMMA) % 2**64)
    key = _split_mix64((stream + (position + 1) * _GAMMA) % 2**64)
    x = (token_id + 0x9E3779B9) & _MASK32
    x = (x ^ x >> 16) * 0x85EBCA6B & _MASK32
    x = (x ^ x >> 13) * 0xC2B2AE35 & _MASK32
    x ^= x >> 16
    x = (x ^ key >> 32) * 0x9E3779B1 & _MASK32
    x ^= x >> 16
    x = (x ^ key & _MASK32) * 0x85EBCA6B & _MASK32
    x ^= x >> 15
    x = x * 0x85EBCA77 & _MASK32
    return x - 2**32 if x >= 2**31 else x


def gumbel(seed: int, position: int, token_id: int) -> float:
    """Standard Gumbel noise of one token at one position."""
    u = max(abs(noise_word(seed, position, token_id)), 0.5) / 2**31
    return -math.log(-math.log1p(-min(u, 1 - 2**-24)))


def edited(
    logits: Sequence[float],
    params: SamplingParams,
    *,
    prompt: Sequence[int],
    generated: Sequence[int],
    eos_token_ids: Sequence[int],
) -> list[float]:
    """Logits after bias, minimum length and penalties."""
    bias = dict(params.logit_bias)
    scores = [x + (-math.inf if bias.get(i, 0) <= -100 else bias.get(i, 0)) for i, x in enumerate(logits)]
    if len(generated) < params.min_tokens:
        for token_id in {*eos_token_ids, *params.stop_token_ids}:
            scores[token_id] = -math.inf
    for token_id in {*prompt, *generated}:
        x = scores[token_id]
        scores[token_id] = x / params.repetition_penalty if x > 0 else x * params.repetition_penalty
    for token_id in set(generated):
        scores[token_id] -= params.frequency_penalty * generated.count(token_id) + params.presence_penalty
    return scores


def kept(z: Sequence[float], params: SamplingParams) -> list[int]:
    """Ids of the tokens that min-p, top-k and top-p leave, most likely first, of log-probabilities up to a constant."""
    order = sorted((i for i, x in enumerate(z) if x > -math.inf), key=lambda i: (-z[i], i))
    if not order:
        return []
    weights = {i: math.exp(z[i] - z[order[0]]) for i in order}
    order = [i for i in order if weights[i] >= params.min_p]
    order = order[: params.top_k or None]
    total = math.fsum(weights[i] for i in order)
    nucleus: list[int] = []
    for token_id in order:
        if nucleus and math.fsum(weights[i] for i in nucleus) >= params.top_p * total:
            break
        nucleus.append(token_id)
    return nucleus


def sampled(scores: Sequence[float], params: SamplingParams, *, position: int) -> int | None:
    """The token drawn from edited logits; None where every token is banned."""
    greedy = params.temperature == 0 or params.top_p == 0
    z = [x if greedy else x / params.temperature for x in scores]
    candidates = kept(z, replace(params, top_k=1) if greedy else params)
    return max(candidates, key=lambda i: (z[i] + gumbel(params.seed, position, i), -i), default=None)


def is_clear_cut(scores: Sequence[float], params: SamplingParams, *, position: int) -> bool:
    """Whether float32 must come to the same token: no cut and no duel is decided by less than 1e-4."""
    if params.temperature == 0 or params.top_p == 0:
        return True
    z = [x / params.temperature for x in scores]
    sets = {
        tuple(kept(z, replace(params, min_p=params.min_p * factor, top_p=min(params.top_p * factor, 1.0))))
        for factor in (1 - 1e-4, 1.0, 1 + 1e-4)
    }
    duel = sorted(z[i] + gumbel(params.seed, position, i) for i in next(iter(sets)))[-2:]
    return len(sets) == 1 and (len(duel) < 2 or duel[1] - duel[0] > 1e-4 * max(1.0, abs(duel[1])))
