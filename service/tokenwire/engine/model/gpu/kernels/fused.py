"""The Triton kernels of a layer's element-wise parts. Arguments are described where they are launched.

Arithmetic is in float32 throughout and rounded where transformers rounds.
"""

import triton
import triton.language as tl


@triton.jit
def add_norm(x, residual, weight, normed, epsilon, WIDTH: tl.constexpr, BLOCK: tl.constexpr, ADDS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * WIDTH
    column = tl.arange(0, BLOCK)
    mask = column < WIDTH
    value = tl.load(x + row + column, mask=mask, other=0.0)
    exact = value.to(tl.float32)
    if ADDS:
        exact += tl.load(residual + row + column, mask=mask, other=0.0).to(tl.float32)
        exact = exact.to(value.dtype).to(tl.float32)
        tl.store(residual + row + column, exact.to(value.dtype), mask=mask)
    scale = tl.rsqrt(tl.sum(exact * exact) / WIDTH + epsilon)
    # Rounded before the weight, as transformers does.
    result = (exact * scale).to(value.dtype).to(tl.float32)
    result *= tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(normed + row + column, result.to(value.dtype), mask=mask)


@triton.jit
def silu_mul(gate_up, product, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < WIDTH
    gate = tl.load(gate_up + row * 2 * WIDTH + column, mask=mask, other=0.0)
    up = tl.load(gate_up + row * 2 * WIDTH + WIDTH + column, mask=mask, other=0.0)
    exact = gate.to(tl.float32)
    result = (exact / (1.0 + tl.exp(-exact))).to(gate.dtype).to(tl.float32) * up.to(tl.float32)
    tl.store(product + row * WIDTH + column, result.to(gate.dtype), mask=mask)


@triton.jit
def rotate_and_store(
    qkv,
    positions,
    write_rows,
    cosines,
    sines,
    keys,
    values,
    query_norm,
    key_norm,
    epsilon,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    NORMS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)[:, None]
    column = tl.arange(0, BLOCK_HALF)[None, :]
    is_column = column < HALF
    is_query = head < HEADS
    is_value = head >= HEADS + KV_HEADS
    mask = is_column & (head < HEADS + 2 * KV_HEADS)
    first_at = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * 2 * HALF + column
    first = tl.load(first_at, mask=mask, other=0.0)
    second = tl.load(first_at + HALF, mask=mask, other=0.0)
    slot = (tl.load(write_rows + row) * KV_HEADS + head - HEADS) * 2 * HALF + column
    value_slot = values + slot - KV_HEADS * 2 * HALF
    tl.store(value_slot, first, mask=mask & is_value)
    tl.store(value_slot + HALF, second, mask=mask & is_value)
    a = first.to(tl.float32)
    b = second.to(tl.float32)
    if NORMS:
        squares = tl.sum(a * a, 1) + tl.sum(b * b, 1)
        scale = tl.rsqrt(squares / (2 * HALF) + epsilon)[:, None]
        from_query = is_query & is_column
        from_key = (head >= HEADS) & is_column
        at = column + head * 0
        weight_a = tl.load(query_norm + at, mask=from_query, other=0.0).to(tl.float32)
        weight_a += tl.load(key_norm + at, mask=from_key, other=0.0).to(tl.float32)
        weight_b = tl.load(query_norm + HALF + at, mask=from_query, other=0.0).to(tl.float32)
        weight_b += tl.load(key_norm + HALF + at, mask=from_key, other=0.0).to(tl.float32)
        # Rounded before the weight and after it, as transformers does.
        a = ((a * scale).to(first.dtype).to(tl.float32) * weight_a).to(first.dtype).to(tl.float32)
        b = ((b * scale).to(first.dtype).to(tl.float32) * weight_b).to(first.dtype).to(tl.float32)
    at = tl.load(positions + row) * HALF + column
    cosine = tl.load(cosines + at, mask=is_column, other=0.0).to(tl.float32)
    sine = tl.load(sines + at, mask=is_column, other=0.0).to(tl.float32)
    rotated_a = (a * cosine - b * sine).to(first.dtype)
    rotated_b = (b * cosine + a * sine).to(first.dtype)
    is_rotated = mask & (head < HEADS + KV_HEADS)
    tl.store(first_at, rotated_a, mask=is_rotated)
    tl.store(first_at + HALF, rotated_b, mask=is_rotated)
    is_key = is_rotated & (head >= HEADS)
    tl.store(keys + slot, rotated_a, mask=is_key)
    tl.store(keys + slot + HALF, rotated_b, mask=is_key)
