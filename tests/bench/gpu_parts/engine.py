"""Scheduler, runner and sampler on our pass: requests of random tokens, all at once, as fast as they go."""

import random
import time

import torch

from bench.gpu_parts.random_model import make_random_model, on_our_pass
from bench.gpu_parts.scale import DEVICE, Scale, synchronize, tell
from tokenwire.engine.model.kv_cache import count_blocks
from tokenwire.engine.protocol import GenerationRequest, SamplingParams
from tokenwire.engine.runner import ModelRunner
from tokenwire.engine.sampling.sampler import Sampler
from tokenwire.engine.scheduling.blocks import BlockPool
from tokenwire.engine.scheduling.chunks import Chunking
from tokenwire.engine.scheduling.scheduler import Scheduler


def prompts(scale: Scale, *, seed: int) -> list[list[int]]:
    """Of the workload."""
    source = random.Random(seed)
    vocabulary = scale.config["vocab_size"]
    return [[source.randrange(vocabulary) for _ in range(scale.request_prompt)] for _ in range(scale.requests)]


@torch.inference_mode()
def run(scale: Scale) -> None:
    """Tell output tokens per second, greedy and drawn, behind a warm-up that captures the graphs."""
    model = on_our_pass(make_random_model(scale))
    context = scale.request_prompt + scale.request_tokens
    num_blocks = count_blocks(
        model.layers,
        block_size=scale.block_size,
        dtype=scale.dtype,
        device=DEVICE,
        memory_bytes=None,
        context_length=context,
        max_running=scale.requests,
    )
    model.attach(num_blocks=num_blocks, block_size=scale.block_size)
    greedy = SamplingParams(seed=1, max_tokens=scale.request_tokens, temperature=0, ignore_eos=True)
    drawn = SamplingParams(seed=1, max_tokens=scale.request_tokens, temperature=0.8, top_p=0.95, ignore_eos=True)
    for seed, (name, sampling) in enumerate((("warm-up", greedy), ("greedy", greedy), ("top-p 0.95", drawn))):
        scheduler = Scheduler(
            BlockPool(num_blocks, scale.block_size),
            max_running=scale.requests,
            max_step_tokens=2048 + scale.requests,
            eos_token_ids=(),
            context_length=context,
            vocabulary_size=model.vocabulary_size,
            chunking=Chunking(),
        )
        sampler = Sampler(
            vocabulary_size=model.vocabulary_size, max_slots=scale.requests, eos_token_ids=(), device=DEVICE
        )
        runner = ModelRunner(model, sampler, block_size=scale.block_size, chunking=Chunking())
        synchronize()
        start = time.perf_counter()
        for number, prompt in enumerate(prompts(scale, seed=seed)):
            scheduler.submit(GenerationRequest(str(number), tuple(prompt), sampling), time.monotonic())
        count, steps = 0, 0
        while scheduler.has_work:
            plan = scheduler.plan(time.monotonic())
            count += sum(len(output.token_ids) for output in scheduler.commit(plan, runner.run(plan)))
            steps += 1
        took = time.perf_counter() - start
        what = f"{name}: {scale.requests} requests, {scale.request_prompt} → {scale.request_tokens} tokens"
        tell(what, f"{count / took:,.0f} tok/s", f"{count} tokens, {steps} steps, {took:.1f} s")
