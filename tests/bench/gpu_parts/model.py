"""Our pass on random weights: steps of 1 … 256 sequences at one context length, and a prefill, against the limits."""

import time
from statistics import median

import torch

from bench.gpu_parts.kernels import scattered
from bench.gpu_parts.random_model import make_random_model, on_our_pass, weight_bytes
from bench.gpu_parts.scale import DEVICE, Scale, copy_bandwidth, seconds, synchronize, tell
from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.staging import stage


@torch.inference_mode()
def run(scale: Scale) -> None:
    """Tell steps with all that the host does for them: plan, copies, greedy tokens back to the host."""
    bandwidth = copy_bandwidth(scale)
    source = make_random_model(scale)
    read = weight_bytes(source)
    parameters = read // scale.dtype.itemsize
    model = on_our_pass(source)
    del source
    num_blocks = scale.batches[-1] * -(-(scale.context + 1) // scale.block_size) + 1
    model.attach(num_blocks=max(num_blocks, -(-scale.prompt // scale.block_size) + 1), block_size=scale.block_size)
    cached = sum(layer.cached_elements for layer in model.layers) * scale.dtype.itemsize
    tell("weights read by a step", f"{read / 1e9:.2f} GB", f"{read / bandwidth * 1e3:.2f} ms at the copy's bandwidth")
    for batch in scale.batches:
        took = _step_seconds(model, batch, scale)
        limit = (read + batch * scale.context * cached) / bandwidth
        tell(
            f"step of {batch} at context {scale.context}",
            f"{took * 1e3:.2f} ms, {batch / took:,.0f} tok/s",
            f"{limit / took:.0%} of the bandwidth limit of {batch / limit:,.0f} tok/s",
        )
    took = seconds(lambda: _prefill(model, scale), repeats=5)
    flops = 2 * parameters * scale.prompt
    tell(
        f"prefill of {scale.prompt}",
        f"{took * 1e3:.1f} ms, {scale.prompt / took:,.0f} tok/s",
        f"{flops / took / 1e12:.0f} TFLOP/s",
    )


def _step_seconds(model: PagedModel, batch: int, scale: Scale) -> float:
    spans = scattered(batch, scale)
    tokens = [number * 97 % model.vocabulary_size for number in range(batch)]
    times = []
    for _ in range(scale.steps + 4):
        synchronize()
        start = time.perf_counter()
        last = scale.context - 1
        rows = [span.blocks[last // scale.block_size] * scale.block_size + last % scale.block_size for span in spans]
        staged = stage([*tokens, *[last] * batch, *rows, *range(batch)], device=DEVICE)
        token_ids, positions, write_rows, logit_rows = staged.view(4, batch)
        logits = model.forward(token_ids, positions, AttentionBatch(write_rows, tuple(spans)), logit_rows)
        tokens = logits.argmax(-1).tolist()
        times.append(time.perf_counter() - start)
    return median(times[4:])


def _prefill(model: PagedModel, scale: Scale) -> None:
    length = scale.prompt
    blocks = list(range(1, -(-length // scale.block_size) + 1))
    places = torch.arange(length, device=DEVICE)
    span = SequenceSpan(length, length, blocks, scale.block_size, DEVICE)
    batch = AttentionBatch(places + scale.block_size, (span,))
    model.forward(places % model.vocabulary_size, places, batch, places[-1:])
