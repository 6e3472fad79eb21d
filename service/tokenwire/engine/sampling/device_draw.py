"""Drawing among the tokens that top-k and top-p keep, on a GPU: no round of it waits for the host."""

import torch
from torch import Tensor

from tokenwire.engine.sampling import draw_kernel

_BLOCK = 4096


def draw_kept(z: Tensor, scores: Tensor, weights: Tensor, top_k: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """See `draw_kept_in_rounds`: the best-scored token that is kept, as (score, index), both [R, 1].

    Each row is the work of one program: its result does not depend on the others.
    """
    score, token = torch.empty_like(mass), torch.empty_like(top_k)
    draw_kernel.draw_kept[(len(z),)](
        z, scores, weights, top_k, mass, score, token, WIDTH=z.shape[1], BLOCK=_BLOCK, num_warps=8
    )
    return score, token
