"""The Triton kernel of `draw_kept`. Ties go to the lowest token id."""

import triton
import triton.language as tl


@triton.jit
def draw_kept(z, scores, weights, top_k, mass, score, token, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    z += row * WIDTH
    scores += row * WIDTH
    weights += row * WIDTH
    most = tl.load(top_k + row)
    limit = tl.load(mass + row)
    # Drawn from are the tokens before this one in the order of z; at first, all.
    level = float("-inf")
    edge = WIDTH
    best = float("-inf")
    best_id = 0
    searches = True
    while searches:
        best = float("-inf")
        best_id = 0
        for first in range(0, WIDTH, BLOCK):
            column = first + tl.arange(0, BLOCK)
            mask = column < WIDTH
            value = tl.load(z + column, mask=mask, other=float("-inf"))
            is_before = mask & ((value > level) | ((value == level) & (column < edge)))
            candidate = tl.where(is_before, tl.load(scores + column, mask=mask, other=0.0), float("-inf"))
            block_best = tl.max(candidate, 0)
            if block_best > best:
                best = block_best
                best_id = first + tl.argmax(candidate, 0)
        level = tl.load(z + best_id)
        edge = best_id
        count = 0
        sum_before = 0.0
        for first in range(0, WIDTH, BLOCK):
            column = first + tl.arange(0, BLOCK)
            mask = column < WIDTH
            value = tl.load(z + column, mask=mask, other=float("-inf"))
            is_before = mask & ((value > level) | ((value == level) & (column < edge)))
            count += tl.sum(is_before.to(tl.int32), 0)
            sum_before += tl.sum(tl.where(is_before, tl.load(weights + column, mask=mask, other=0.0), 0.0), 0)
        is_kept = (count < most) & (sum_before < limit)
        # Without a finite score there is nothing to draw; the caller sees the score.
        searches = (is_kept == 0) & (best > float("-inf"))
    tl.store(score + row, best)
    tl.store(token + row, best_id.to(tl.int64))
