"""Decoding speed of the engine in one process and in two (`--tensor-parallel 2`), in turns, on a CPU.

    .venv/bin/python tests/bench/tensor_parallel.py --rounds 3

The model has SmolLM2-135M's shape but for its heads, which two cannot divide (8 and 4 instead of 9 and 3), and random
weights. The engine is asked without front end; a rate counts from the first tokens of all streams to the last token.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tokenwire.engine.protocol import EngineOptions, GenerationRequest, SamplingParams
from tokenwire.engine.supervisor import SupervisedEngine

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
ENGINES = ((1, "auto"), (1, "fp32"), (2, "fp32"))
PROMPT_TOKENS, MAX_TOKENS = 40, 48
START_TIMEOUT_S, ANSWER_TIMEOUT_S = 300, 300


def make_model(folder: Path) -> None:
    """Write the model."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE), dtype=torch.float32).save_pretrained(
        folder
    )


async def generate(engine: SupervisedEngine, name: str, seed: int) -> tuple[float, float]:
    """When the first and the last token of an answer came."""
    prompt = tuple((seed * 7919 + position * 97) % 40000 for position in range(PROMPT_TOKENS))
    sampling = SamplingParams(seed=seed, max_tokens=MAX_TOKENS, ignore_eos=True)
    generation = engine.generate(GenerationRequest(name, prompt, sampling))
    first = 0.0
    while True:
        outputs = await asyncio.wait_for(generation.receive(), ANSWER_TIMEOUT_S)
        first = first or time.perf_counter()
        if any(output.finish_reason for output in outputs):
            return first, time.perf_counter()


async def tokens_per_s(engine: SupervisedEngine, streams: int, *, seed: int) -> float:
    """Of all streams together, while all of them decode."""
    times = await asyncio.gather(*(generate(engine, f"{seed}-{n}", seed + n) for n in range(streams)))
    return streams * (MAX_TOKENS - 1) / (max(last for _, last in times) - max(first for first, _ in times))


async def measure(folder: Path, ranks: int, weights: str, streams: list[int]) -> dict[int, float]:
    """Rates by number of streams."""
    options = EngineOptions(str(folder), device="cpu", weights=weights, tensor_parallel=ranks, speculation=False)
    engine = SupervisedEngine(options)
    try:
        await asyncio.wait_for(engine.start(lambda progress: None), START_TIMEOUT_S)
        await tokens_per_s(engine, 2, seed=0)  # warm
        return {number: await tokens_per_s(engine, number, seed=1000 * number) for number in streams}
    finally:
        await engine.stop()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    rates: dict[tuple[int, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        for _ in range(options.rounds):
            for ranks, weights in ENGINES:
                found = asyncio.run(measure(Path(folder), ranks, weights, options.streams))
                for streams, rate in found.items():
                    rates.setdefault((ranks, weights, streams), []).append(rate)
    print("| processes | weights |", " | ".join(f"{streams} streams" for streams in options.streams), "|")
    print("|---" * (len(options.streams) + 2) + "|")
    for ranks, weights in ENGINES:
        cells = [
            f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"
            for values in (rates[ranks, weights, streams] for streams in options.streams)
        ]
        print(f"| {ranks} | {weights} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
