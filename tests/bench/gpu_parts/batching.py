"""transformers' continuous batching on the workload of the engine part."""

import time
from typing import Any

from transformers import GenerationConfig

from bench.gpu_parts.engine import prompts
from bench.gpu_parts.random_model import make_random_model
from bench.gpu_parts.scale import DEVICE, Scale, synchronize, tell


def run(scale: Scale) -> None:
    """Tell output tokens per second, behind a short warm-up."""
    model = make_random_model(scale)
    limits = _cpu_limits() if DEVICE.type == "cpu" else {}
    for name, count in (("warm-up", 4), ("continuous batching", scale.request_tokens)):
        config = GenerationConfig(max_new_tokens=count, do_sample=False, eos_token_id=-1, pad_token_id=0)
        synchronize()
        start = time.perf_counter()
        results = model.generate_batch(prompts(scale, seed=1), generation_config=config, **limits)
        took = time.perf_counter() - start
        tokens = sum(len(result.generated_tokens) for result in results.values())
        what = f"{name}: {scale.requests} requests, {scale.request_prompt} → {count} tokens"
        tell(what, f"{tokens / took:,.0f} tok/s", f"{tokens} tokens, {took:.1f} s")


def _cpu_limits() -> dict[str, Any]:
    """It takes most of the free memory, which a CPU shares with others."""
    from transformers import ContinuousBatchingConfig  # not in every version

    return {"continuous_batching_config": ContinuousBatchingConfig(num_blocks=16)}
