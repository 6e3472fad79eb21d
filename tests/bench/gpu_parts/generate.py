"""transformers' `generate` on the same random weights: single stream, and batches at the same context."""

from functools import partial

import torch
from transformers import GenerationConfig, PreTrainedModel

from bench.gpu_parts.random_model import make_random_model
from bench.gpu_parts.scale import DEVICE, Scale, seconds, tell


@torch.inference_mode()
def run(scale: Scale) -> None:
    """Tell tokens per second of the decode steps: the time of many tokens less that of one, which is the prefill."""
    model = make_random_model(scale)
    few, many = 1, 1 + 4 * scale.steps
    for cache, batch in (("dynamic", 1), ("static", 1), *(("dynamic", batch) for batch in scale.batches[1:])):
        name = f"generate, {cache} cache, {batch} at context {scale.context}"
        tokens = many if batch == 1 else 1 + scale.steps
        inputs = torch.randint(0, model.config.vocab_size, (batch, scale.context), device=DEVICE)
        first, all_tokens = (partial(_generate, model, inputs, count, cache) for count in (few, tokens))
        try:
            repeats, warm_up = (3, 1) if batch == 1 else (1, 1)
            prefill = seconds(first, repeats=repeats, warm_up=warm_up)
            took = (seconds(all_tokens, repeats=repeats, warm_up=0) - prefill) / (tokens - few)
        except (RuntimeError, ValueError) as error:  # out of memory, say
            tell(name, "failed", str(error)[:100])
            continue
        tell(name, f"{took * 1e3:.2f} ms a step, {batch / took:,.0f} tok/s", f"prefill {prefill * 1e3:.0f} ms")


def _generate(model: PreTrainedModel, inputs: torch.Tensor, count: int, cache: str) -> None:
    config = GenerationConfig(
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        cache_implementation=None if cache == "dynamic" else cache,
        disable_compile=True,  # which takes longer than this part may
        pad_token_id=0,
    )
    model.generate(inputs, attention_mask=torch.ones_like(inputs), generation_config=config)
