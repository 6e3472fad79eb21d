"""Log-probabilities of the model's own distribution: of a step's tokens, and of a prompt's."""

from collections.abc import Sequence

import torch

from tokenwire.engine.model.staging import stage
from tokenwire.engine.protocol import TokenLogprobs
from tokenwire.engine.sampling.draw import BLOCK, in_blocks, padded

FLOOR = -9999.0
"""Stands for −inf, which JSON cannot carry."""

_GROUP_ELEMENTS = 2**21
"""Log-probabilities of a prompt are made for so many logits at once: a long prompt then needs little more memory."""


def token_logprobs(logits: torch.Tensor, token_ids: Sequence[int], num_top: Sequence[int]) -> list[TokenLogprobs]:
    """Natural log-probabilities of row i's sampled token and of its `num_top[i]` most likely ones.

    `logits` [R, V], any float type, of finite rows. Most likely first, the lowest id first among equals.
    """
    logprobs = torch.log_softmax(logits.float(), dim=1)
    sampled = logprobs.gather(1, stage(token_ids, device=logits.device).unsqueeze(1)).flatten().tolist()
    most = min(max(num_top, default=0), logits.shape[1])
    # One more than asked, to see whether the last place is shared.
    values, ids = _largest(padded(logprobs), most + 1) if most else (logprobs[:, :0], logprobs[:, :0])
    tops = [list(zip(*row, strict=True)) for row in zip(ids.tolist(), values.tolist(), strict=True)]
    return [
        TokenLogprobs(logprob=max(logprob, FLOOR), top=_ordered(logprobs[row], top, min(count, most)))
        for row, (logprob, top, count) in enumerate(zip(sampled, tops, num_top, strict=True))
    ]


def prompt_logprobs(logits: torch.Tensor, token_ids: Sequence[int], *, num_top: int) -> list[TokenLogprobs]:
    """The same for rows that all ask for as many, in little memory however many they are."""
    size = max(1, _GROUP_ELEMENTS // logits.shape[1])
    found: list[TokenLogprobs] = []
    for start in range(0, len(token_ids), size):
        group = token_ids[start : start + size]
        found += token_logprobs(logits[start : start + size], group, [num_top] * len(group))
    return found


def _largest(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest values of each row with their indices, [R, count]; fewer where the row is shorter.

    They lie in the blocks with the largest maxima, so that most of the row needs no more than a maximum.
    """
    blocks = in_blocks(rows)
    chosen = blocks.amax(2).topk(min(count, blocks.shape[1]), dim=1).indices  # [R, C]
    values, within = (
        blocks.gather(1, chosen.unsqueeze(2).expand(-1, -1, BLOCK))
        .flatten(1)
        .topk(min(count, chosen.shape[1] * BLOCK), dim=1)
    )
    return values, chosen.gather(1, within // BLOCK) * BLOCK + within % BLOCK


def _ordered(row: torch.Tensor, top: list[tuple[int, float]], count: int) -> tuple[tuple[int, float], ...]:
    """The first `count` of `top`, one longer than needed where the vocabulary allows, with ties in order of id."""
    if 0 < count < len(top) and top[count][1] == top[count - 1][1]:
        # Which of the equal ones `topk` found is not defined: find them all. bfloat16 logits have many equals.
        ids = (row >= top[count][1]).nonzero().flatten().tolist()
        top = list(zip(ids, row[ids].tolist(), strict=True))
    ranked = sorted(top, key=lambda entry: (-entry[1], entry[0]))[:count]
    return tuple((token_id, max(logprob, FLOOR)) for token_id, logprob in ranked)
