"""What the ways to store weights cost and give: perplexity, agreement with float32, memory and speed.

python tests/bench/quality.py FOLDER [--modes transformers,fp32,fp16,int8,int4,auto] [--windows 40] [--json FILE]

The text is Python's language reference, which every Python has (`pydoc_data.topics`), in windows of 512 tokens that do
not see each other. Divergence and agreement are those of the next token, over the whole vocabulary, beside fp32.
Answers are greedy ones to 30 short chats. FOLDER is a checkpoint in Hugging Face form that has a chat template;
`--noise 0.5` first spoils its 4-bit grid with normal noise of so many steps. See docs/weights.md.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from pydoc_data import topics
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.inline_engine import InlineEngine, token_ids
from tokenwire.cache import default_cache_dir
from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.loading import load_model
from tokenwire.engine.protocol import SamplingParams

MODES = "transformers,fp32,fp16,int8,int4,auto"
WINDOW = 512
STREAMS = (1, 8, 32)
ANSWER_TOKENS = 64
GROUP = 32
"""Weights that share a scale."""
VERBS = ("Explain", "Describe in two sentences", "Write a short poem about", "List three facts about", "Ask me about")
THINGS = ("rain", "bicycles", "the sun", "a library", "cheese", "prime numbers")
PROMPTS = [f"{verb} {thing}." for verb in VERBS for thing in THINGS]

Score = Callable[[Tensor], Tensor]
"""Log-probabilities [T, V] of the next token behind each of the token ids [T]."""


@dataclass(slots=True)
class Quality:
    """What was measured of one way to store weights."""

    stored_as: str = ""
    log_likelihoods: list[float] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    same_first: list[float] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)
    tokens_per_s: dict[int, list[float]] = field(default_factory=lambda: {streams: [] for streams in STREAMS})


def transformers_score(folder: Path) -> tuple[str, Score]:
    """The model as transformers computes it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def score(window: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=window.unsqueeze(0), use_cache=False).logits[0]
        return logits.log_softmax(-1)

    return "float32", score


def our_score(folder: Path, mode: str) -> tuple[str, Score]:
    """The model on the engine's forward pass, one chunk a window."""
    cpu = torch.device("cpu")
    config = AutoConfig.from_pretrained(folder)
    kernels = default_cache_dir() / "kernels"
    model = load_model(folder, config, dtype=torch.float32, device=cpu, kernel_dir=kernels, weights=mode)
    model.attach(num_blocks=2, block_size=WINDOW)
    positions = torch.arange(WINDOW)

    def score(window: Tensor) -> Tensor:
        span = SequenceSpan(num_queries=WINDOW, num_keys=WINDOW, blocks=[1], block_size=WINDOW, device=cpu)
        batch = AttentionBatch(write_rows=WINDOW + positions, spans=(span,))
        return model.forward(window, positions, batch, positions).log_softmax(-1)

    return model.weights or "fp32", score


@torch.inference_mode()
def compare_on_text(folder: Path, modes: list[str], windows: int, results: dict[str, Quality]) -> None:
    """Each window through all modes, one after the other."""
    text = "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    ids = torch.tensor(AutoTokenizer.from_pretrained(folder)(text)["input_ids"])
    scores: dict[str, Score] = {}
    for mode in modes:
        make = transformers_score(folder) if mode == "transformers" else our_score(folder, mode)
        results[mode].stored_as, scores[mode] = make
    for window in torch.split(ids[: windows * WINDOW], WINDOW):
        exact = scores["fp32"](window)
        for mode, score in scores.items():
            add_window(results[mode], window, exact if mode == "fp32" else score(window), exact)


def add_window(result: Quality, window: Tensor, log_probs: Tensor, exact: Tensor) -> None:
    """Note how likely the window's tokens were, and how far the log-probabilities [T, V] are from the exact ones."""
    likelihood = log_probs[:-1].gather(1, window[1:, None])
    result.log_likelihoods.append(likelihood.mean().item())
    result.divergences.append((exact.exp() * (exact - log_probs)).sum(-1).mean().item())
    result.same_first.append((exact.argmax(-1) == log_probs.argmax(-1)).float().mean().item())


def compare_answers(folder: Path, modes: list[str], rounds: int, results: dict[str, Quality]) -> None:
    """Greedy answers of each mode's engine, then the tokens a second of streams, the modes in turns."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chats = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]
    ours = [mode for mode in modes if mode != "transformers"]
    engines = {mode: InlineEngine(folder, weights=mode, kv_memory_bytes=1 << 29) for mode in ours}
    greedy = SamplingParams(seed=0, temperature=0.0, max_tokens=ANSWER_TOKENS)
    for mode, engine in engines.items():
        for number, prompt in enumerate(prompts):
            engine.submit(str(number), prompt, greedy)
        outputs = engine.run()
        results[mode].answers = [token_ids(outputs[str(number), 0]) for number in range(len(prompts))]
    for _ in range(rounds):
        for streams in STREAMS:
            for mode, engine in engines.items():
                results[mode].tokens_per_s[streams].append(decode_speed(engine, prompts[0], streams))


def decode_speed(engine: InlineEngine, prompt: list[int], streams: int) -> float:
    """Tokens a second of so many streams, from when all have begun."""
    engine.submit("speed", prompt, SamplingParams(seed=0, max_tokens=ANSWER_TOKENS, ignore_eos=True), n=streams)
    while sum(1 for output in engine.step() if output.token_ids) < streams:
        pass
    steps = 16
    start_s = time.perf_counter()
    tokens = sum(len(output.token_ids) for _ in range(steps) for output in engine.step())
    speed = tokens / (time.perf_counter() - start_s)
    engine.scheduler.abort("speed")
    return speed


def common_prefix(one: list[int], other: list[int]) -> int:
    """Length of what both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def table(results: dict[str, Quality]) -> Iterator[str]:
    """Markdown, a line a mode."""
    speeds = " | ".join(f"tok/s at {streams}" for streams in STREAMS)
    yield f"| weights | stored as | perplexity | divergence | same first | same answers | same prefix | {speeds} |"
    yield "|" + "---|" * (7 + len(STREAMS))
    for mode, result in results.items():
        pairs = list(zip(result.answers, results["fp32"].answers, strict=True)) if result.answers else []
        cells = [
            f"{torch.tensor(result.log_likelihoods).mean().neg().exp():.3f}" if result.log_likelihoods else "",
            f"{statistics.mean(result.divergences):.5f}" if result.divergences else "",
            f"{statistics.mean(result.same_first):.2%}" if result.same_first else "",
            f"{sum(one == other for one, other in pairs)} of {len(pairs)}" if pairs else "",
            f"{statistics.mean(common_prefix(one, other) for one, other in pairs):.1f}" if pairs else "",
        ]
        cells += [f"{statistics.median(speeds):.1f}" if speeds else "" for speeds in result.tokens_per_s.values()]
        yield f"| {mode} | {result.stored_as} | {' | '.join(cells)} |"


def spoil(folder: Path, noisy: Path, steps: float) -> None:
    """Save the checkpoint with noise of so many 4-bit steps of each group of 32 weights in the layers' products."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if name.endswith("_proj.weight"):
            groups = weight.detach().view(-1, GROUP)  # of the parameter's own memory
            step = (groups.amax(1, keepdim=True) - groups.amin(1, keepdim=True)) / 15
            groups += steps * step * torch.randn(groups.shape, generator=generator)
    model.save_pretrained(noisy)
    AutoTokenizer.from_pretrained(folder).save_pretrained(noisy)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--modes", default=MODES, help="fp32 must be among them")
    parser.add_argument("--windows", type=int, default=40, help="0: no text")
    parser.add_argument("--rounds", type=int, default=5, help="of speeds; -1: no answers either")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    modes = arguments.modes.split(",")
    results = {mode: Quality() for mode in modes}
    with TemporaryDirectory() as noisy:
        folder = arguments.folder
        if arguments.noise:
            spoil(folder, Path(noisy), arguments.noise)
            folder = Path(noisy)
        if arguments.windows:
            compare_on_text(folder, modes, arguments.windows, results)
        if arguments.rounds >= 0:
            compare_answers(folder, modes, arguments.rounds, results)
    print("\n".join(table(results)))
    if arguments.json:
        arguments.json.write_text(json.dumps({mode: asdict(result) for mode, result in results.items()}))


if __name__ == "__main__":
    main()
