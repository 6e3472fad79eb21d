"""A copy; decode attention by how its work is cut; the kernels between the products; products of few rows."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from bench.gpu_parts.scale import DEVICE, Scale, copy_bandwidth, device_seconds, tell
from tokenwire.engine.model.attention import LayerShape, SequenceSpan
from tokenwire.engine.model.gpu.decode_attention import DecodeAttention, Tuning, Workspace
from tokenwire.engine.model.gpu.decoder import count_programs
from tokenwire.engine.model.gpu.fused import add_norm, rotate_and_store, silu_mul
from tokenwire.engine.model.gpu.plan import make_plan

TUNINGS = [
    Tuning(),
    *(Tuning(block_keys=64, num_stages=stages) for stages in (2, 3, 5)),
    *(Tuning(block_keys=32, num_stages=stages) for stages in (3, 4, 6)),
    Tuning(block_keys=128, num_stages=3, num_warps=8),
    *(Tuning(programs_per_processor=count) for count in (2, 8)),
    *(Tuning(split=split) for split in (128, 512, 1024)),
    Tuning(num_warps=8),
]


def run(scale: Scale) -> None:
    """Tell bandwidths in shares of the copy's."""
    bandwidth = copy_bandwidth(scale)
    tell("copy, read + write", f"{bandwidth / 1e12:.3f} TB/s")
    config = scale.config
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config["hidden_size"] // heads
    shape = LayerShape(num_heads=heads, num_kv_heads=kv_heads, key_dim=dim, value_dim=dim)
    for batch in (scale.batches[0], scale.batches[-1]):
        spans = scattered(batch, scale)
        for tuning in TUNINGS[: 2 if DEVICE.type == "cpu" else None]:
            _tell_attention(spans, shape, tuning, bandwidth, scale)
    _tell_fused(shape, bandwidth, scale)
    _tell_products(bandwidth, scale)


def scattered(batch: int, scale: Scale) -> list[SequenceSpan]:
    """Decodes at the scale's context, whose blocks lie anywhere."""
    per_sequence = -(-scale.context // scale.block_size)
    blocks = (torch.randperm(batch * per_sequence, generator=torch.Generator().manual_seed(0)) + 1).tolist()
    return [
        SequenceSpan(1, scale.context, blocks[i * per_sequence : (i + 1) * per_sequence], scale.block_size, DEVICE)
        for i in range(batch)
    ]


def _tell_attention(
    spans: Sequence[SequenceSpan], shape: LayerShape, tuning: Tuning, bandwidth: float, scale: Scale
) -> None:
    rows = (1 + sum(len(span.blocks) for span in spans)) * scale.block_size
    keys, values = torch.randn(2, rows, shape.num_kv_heads, shape.key_dim, device=DEVICE).to(scale.dtype)
    width = (shape.num_heads + 2 * shape.num_kv_heads) * shape.key_dim
    qkv = torch.randn(len(spans), width, device=DEVICE).to(scale.dtype)
    plan = make_plan(spans, num_rows=len(spans), split=tuning.split, queries=1, pin=False)
    ints = plan.ints.to(DEVICE)
    workspace = Workspace.allocate(plan.num_items, shape, DEVICE)
    out = qkv.new_empty(len(spans), shape.num_heads, shape.key_dim)
    programs = count_programs(DEVICE, shape, tuning)
    attention = DecodeAttention(shape, scale.block_size, shape.key_dim**-0.5, None, programs, tuning)
    name = f"decode attention, {len(spans)} × {scale.context} keys, {tuning}"
    try:
        took = device_seconds(
            lambda: attention(qkv, keys, values, ints, workspace, out, queries=1), repeats=scale.steps
        )
    except Exception as error:  # a cut that the device has no room for must not lose the others
        tell(name, "failed", str(error)[:100])
        return
    moved = len(spans) * scale.context * shape.cached_elements * scale.dtype.itemsize
    tell(name, f"{took * 1e6:.1f} µs", f"{moved / took / bandwidth:.0%} of the copy's bandwidth")


def _tell_fused(shape: LayerShape, bandwidth: float, scale: Scale) -> None:
    width, inner = scale.config["hidden_size"], scale.config["intermediate_size"]
    for rows in (scale.batches[0], scale.batches[-1]):
        x, residual = torch.randn(2, rows, width, device=DEVICE).to(scale.dtype)
        gate_up = torch.randn(rows, 2 * inner, device=DEVICE).to(scale.dtype)
        heads = shape.num_heads + 2 * shape.num_kv_heads
        qkv = torch.randn(rows, heads * shape.key_dim, device=DEVICE).to(scale.dtype)
        cache = torch.zeros(2, rows, shape.num_kv_heads, shape.key_dim, device=DEVICE, dtype=scale.dtype)
        places = torch.arange(rows, device=DEVICE)
        rotation = torch.ones(2, rows, shape.key_dim // 2, device=DEVICE, dtype=scale.dtype)
        layer_cache = (cache[0], cache[1])
        calls: list[tuple[str, Callable[[], object], float]] = [
            ("add and norm", partial(add_norm, x, residual, x[0], epsilon=1e-5), 4 * x.numel()),
            ("silu · up", partial(silu_mul, gate_up), gate_up.numel() * 1.5),
            (
                "rotate and store",
                partial(rotate_and_store, qkv, places, places, (rotation[0], rotation[1]), layer_cache, shape, None),
                2 * qkv.numel(),
            ),
        ]
        for name, call, elements in calls:
            took = device_seconds(call, repeats=scale.steps)
            share = elements * scale.dtype.itemsize / took / bandwidth
            tell(f"{name}, {rows} rows", f"{took * 1e6:.1f} µs", f"{share:.0%} of the copy's bandwidth")


def _tell_products(bandwidth: float, scale: Scale) -> None:
    """Where a step's bytes are: weights [out, in] that a step reads once."""
    width, inner = scale.config["hidden_size"], scale.config["intermediate_size"]
    copies = max(1, (256 << 20) // (width * inner)) if DEVICE.type == "cuda" else 1  # beyond what the L2 cache holds
    for out, into in ((width * 3 // 2, width), (width, width), (2 * inner, width), (width, inner)):
        weights = torch.randn(copies, out, into, device=DEVICE).to(scale.dtype)
        for rows in scale.batches:
            x = torch.randn(rows, into, device=DEVICE).to(scale.dtype)
            y = x.new_empty(rows, out)

            def multiply(weights: torch.Tensor = weights, x: torch.Tensor = x, y: torch.Tensor = y) -> None:
                for weight in weights:
                    torch.mm(x, weight.t(), out=y)

            took = device_seconds(multiply, repeats=5) / copies
            share = out * into * scale.dtype.itemsize / took / bandwidth
            tell(
                f"product of {rows} rows, {into} → {out}",
                f"{took * 1e6:.1f} µs",
                f"{share:.0%} of the copy's bandwidth",
            )
