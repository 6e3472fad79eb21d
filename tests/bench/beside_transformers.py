"""Tokenwire beside `transformers generate` on one machine in one run, in turns, with the same prompts and lengths.

python tests/bench/beside_transformers.py [--model PATH] [--levels 1,8,32] [--rounds 3] [--json FILE]

Tokenwire is measured as its users meet it: over gRPC, front end, engine process and load generator on the same cores.
`generate` is called as a library on static batches of as many prompts, its best case: no request waits for another,
and no time is spent on a server.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.cli.bench.figures import Figures
from tokenwire.cli.bench.grpc_target import GrpcTarget
from tokenwire.cli.bench.load import Round, measure
from tokenwire.cli.bench.prompts import make_prompts
from tokenwire.cli.bench.targets import Address
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig
from tokenwire.demo import DEMO_MODEL_NAME, fetch_demo_model
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server

MAX_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Level:
    """The figures of one number of streams, one entry a round."""

    streams: int
    tokenwire: list[Round]
    transformers_tokens_per_s: list[float]


class StaticBatches:
    """`transformers generate` on batches of chats, greedy, of a fixed number of new tokens."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def tokens_per_s(self, prompts: Sequence[str]) -> float:
        """Generated tokens over wall time, for one batch of all the prompts."""
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        inputs = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        began_s = time.perf_counter()
        with torch.inference_mode():
            output = self._model.generate(
                **inputs, do_sample=False, max_new_tokens=MAX_TOKENS, min_new_tokens=MAX_TOKENS
            )
        assert output.shape[1] - inputs["input_ids"].shape[1] == MAX_TOKENS
        return len(prompts) * MAX_TOKENS / (time.perf_counter() - began_s)


async def compare(model: Path, *, levels: Sequence[int], rounds: int) -> list[Level]:
    """Measure every level, both sides in turns, after a round of warming up."""
    config = ServeConfig(
        model=ModelOptions(model=str(model), served_model_name=DEMO_MODEL_NAME), server=ServerConfig(port=0)
    )
    server = Server(config, SupervisedEngine(config.engine_options))
    try:
        served = await server.start(lambda progress: None)
        peer = StaticBatches(served.info.model_path)
        address = Address("tokenwire", "grpc", f"127.0.0.1:{server.port}")
        target = GrpcTarget(address, model=DEMO_MODEL_NAME, api_key=None, timeout_s=600)
        try:
            return [await _level(target, peer, streams, rounds=rounds) for streams in levels]
        finally:
            await target.close()
    finally:
        await server.stop()


async def _level(target: GrpcTarget, peer: StaticBatches, streams: int, *, rounds: int) -> Level:
    prompts = make_prompts()
    level = Level(streams, [], [])
    for round_number in range(rounds + 1):
        # Other prompts each round: nothing comes out of the prefix cache but the template's own beginning.
        texts = [await anext(prompts) for _ in range(streams)]
        ours = await measure(target, texts, streams=streams, max_tokens=MAX_TOKENS)
        peer_tokens_per_s = await asyncio.to_thread(peer.tokens_per_s, texts)
        print(f"{streams} streams: {ours.output_tokens_per_s:.1f} / {peer_tokens_per_s:.1f} tok/s", flush=True)
        if round_number > 0:
            level.tokenwire.append(ours)
            level.transformers_tokens_per_s.append(peer_tokens_per_s)
    return level


def table(levels: Sequence[Level]) -> str:
    """The figures as a Markdown table: medians of the rounds, least and most in brackets."""
    lines = [
        "| streams | Tokenwire, tok/s | `generate`, tok/s | ratio | TTFT p50, ms | between tokens p50 / p99, ms |",
        "|---|---|---|---|---|---|",
    ]
    for level in levels:
        ours, theirs = Figures.of(level.tokenwire), level.transformers_tokens_per_s
        assert ours.first_token_s, ours.errors
        assert ours.between_tokens_s
        rate, gaps = ours.output_tokens_per_s, ours.between_tokens_s
        lines.append(
            f"| {level.streams} | {rate.median:.1f} ({rate.least:.1f}–{rate.most:.1f}) "
            f"| {statistics.median(theirs):.1f} ({min(theirs):.1f}–{max(theirs):.1f}) "
            f"| {rate.median / statistics.median(theirs):.2f} | {ours.first_token_s.p50 * 1000:.0f} "
            f"| {gaps.p50 * 1000:.0f} / {gaps.p99 * 1000:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--levels", default="1,8,32", help="numbers of streams")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each level")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    model = arguments.model or fetch_demo_model(default_cache_dir())
    streams = [int(level) for level in arguments.levels.split(",")]
    levels = asyncio.run(compare(model, levels=streams, rounds=arguments.rounds))
    about = {**circumstances(sys.argv), "torch": torch.__version__, "transformers": transformers.__version__}
    print(table(levels), about, sep="\n\n")
    if arguments.json:
        figures = {**about, "levels": [asdict(level) for level in levels]}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
