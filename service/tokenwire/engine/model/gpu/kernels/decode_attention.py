"""The Triton kernels of decode attention. Arguments are described where they are launched, the plan in plan.py."""

import triton
import triton.language as tl

_HEADER = tl.constexpr(8)
_RECORD = tl.constexpr(8)


@triton.jit
def attend_splits(
    queries,
    keys,
    values,
    plan,
    partials,
    stats,
    scale,
    query_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    QUERIES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """Weighted sums of values, largest scores (in base 2) and sums of weights of the plan's items."""
    GROUP: tl.constexpr = HEADS // KV_HEADS
    kv_head = tl.program_id(1)
    items = plan + tl.load(plan + 1)
    row = tl.arange(0, BLOCK_ROWS)
    query = row // GROUP
    head = kv_head * GROUP + row % GROUP
    d = tl.arange(0, BLOCK_DIM)
    is_dim = d < DIM
    for item in range(tl.program_id(0), tl.load(plan), tl.num_programs(0)):
        record = plan + _HEADER + _RECORD * tl.load(items + 2 * item)
        start = SPLIT * tl.load(items + 2 * item + 1)
        first_row = tl.load(record)
        num_queries = tl.load(record + 1)
        num_keys = tl.load(record + 2)
        table = plan + tl.load(record + 3)
        is_row = query < num_queries
        q_at = queries + (first_row + query)[:, None].to(tl.int64) * query_stride + head[:, None] * DIM + d[None, :]
        q = tl.load(q_at, mask=is_row[:, None] & is_dim[None, :], other=0.0)
        newest = num_keys - num_queries + query  # position of each row's query, and the last key that it sees
        end = tl.minimum(start + SPLIT, num_keys)
        if WINDOW > 0:
            oldest = tl.maximum(num_keys - num_queries - WINDOW + 1, 0)
            start = tl.maximum(start, oldest // BLOCK_KEYS * BLOCK_KEYS)
        best = tl.full([BLOCK_ROWS], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_ROWS], tl.float32)
        weighted = tl.zeros([BLOCK_ROWS, BLOCK_DIM], tl.float32)
        for first_key in range(start, end, BLOCK_KEYS):
            key = first_key + tl.arange(0, BLOCK_KEYS)
            is_key = key < end
            block = tl.load(table + key // BLOCK_SIZE, mask=is_key, other=0)
            slot = (block.to(tl.int64) * BLOCK_SIZE + key % BLOCK_SIZE) * KV_HEADS + kv_head
            k = tl.load(keys + slot[None, :] * DIM + d[:, None], mask=is_key[None, :] & is_dim[:, None], other=0.0)
            scores = tl.dot(q, k, input_precision="ieee") * scale
            sees = is_key[None, :] & (key[None, :] <= newest[:, None])
            if WINDOW > 0:
                sees &= key[None, :] > newest[:, None] - WINDOW
            scores = tl.where(sees, scores, float("-inf"))
            new_best = tl.maximum(best, tl.max(scores, 1))
            shift = tl.where(new_best == float("-inf"), 0.0, new_best)
            weights = tl.exp2(scores - shift[:, None])
            fade = tl.exp2(best - shift)
            total = total * fade + tl.sum(weights, 1)
            v = tl.load(values + slot[:, None] * DIM + d[None, :], mask=is_key[:, None] & is_dim[None, :], other=0.0)
            weighted = tl.dot(weights.to(v.dtype), v, weighted * fade[:, None], input_precision="ieee")
            best = new_best
        at = (item * QUERIES + query) * HEADS + head
        is_kept = query < QUERIES
        tl.store(partials + at[:, None] * DIM + d[None, :], weighted, mask=is_kept[:, None] & is_dim[None, :])
        tl.store(stats + at * 2, best, mask=is_kept)
        tl.store(stats + at * 2 + 1, total, mask=is_kept)


@triton.jit
def merge_splits(
    plan,
    partials,
    stats,
    out,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """Add up the splits of one row and head, in order."""
    row = tl.program_id(0)
    head = tl.program_id(1)
    record = plan + _HEADER + _RECORD * row
    first_item = tl.load(record + 4)
    num_items = tl.load(record + 5)
    query = tl.load(record + 6)
    d = tl.arange(0, BLOCK_DIM)
    is_dim = d < DIM
    best = float("-inf")
    total = 0.0
    weighted = tl.zeros([BLOCK_DIM], tl.float32)
    for item in range(first_item, first_item + num_items):
        at = (item * QUERIES + query) * HEADS + head
        split_best = tl.load(stats + at * 2)
        new_best = tl.maximum(best, split_best)
        shift = tl.where(new_best == float("-inf"), 0.0, new_best)
        fade = tl.exp2(best - shift)
        share = tl.exp2(split_best - shift)
        total = total * fade + tl.load(stats + at * 2 + 1) * share
        weighted = weighted * fade + tl.load(partials + at * DIM + d, mask=is_dim, other=0.0) * share
        best = new_best
    result = weighted / tl.where(total == 0.0, 1.0, total)
    tl.store(out + (row.to(tl.int64) * HEADS + head) * DIM + d, result.to(out.dtype.element_ty), mask=is_dim)
