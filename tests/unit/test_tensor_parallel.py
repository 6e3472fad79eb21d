"""Tensor parallel over two processes of the CPU: the tokens of the whole model, refusals, no process left over."""

import asyncio
import logging
import os
import queue
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from transformers import AutoConfig, AutoModelForCausalLM

from support.tiny import make_model
from tokenwire.engine.model.architecture import load_config
from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.model import PagedModel
from tokenwire.engine.model.parallel.followers import PROGRAM, Followers
from tokenwire.engine.model.parallel.group import found_group
from tokenwire.engine.model.parallel.limits import check_devices, check_model, check_options
from tokenwire.engine.model.parallel.loading import load_parallel
from tokenwire.engine.model.parallel.messages import Load
from tokenwire.engine.protocol import EngineOptions, EngineStartError, Progress
from tokenwire.engine.supervisor import SupervisedEngine

WAIT_S = 120
CPU = torch.device("cpu")
BLOCK_SIZE = 16
BLOCKS = 12
"""Of each text."""
MAX_TOKENS = 24
LONG = [7 + 13 * i % 480 for i in range(150)]
PROMPTS = [[11], LONG[:5], LONG[:100], LONG]


def greedy(folder: Path, prompt: list[int]) -> list[int]:
    """The tokens of transformers' own `generate`, in one process; up to an end of text."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = torch.tensor([prompt])
    tokens = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=MAX_TOKENS, do_sample=False)
    ids: list[int] = tokens[0, len(prompt) :].tolist()
    return ids


def followers_of(pid: int) -> list[psutil.Process]:
    """The processes of rank 1 and up that a process has started, or one that it has started."""
    return [child for child in psutil.Process(pid).children(recursive=True) if PROGRAM in child.cmdline()]


@pytest.fixture(scope="module")
def followers() -> Iterator[Followers]:
    """The process of rank 1; this one is rank 0."""
    num_threads = torch.get_num_threads()
    with Followers(2, on_lost=logging.error) as followers:
        found_group(followers, CPU)
        yield followers
        dist.destroy_process_group()
    torch.set_num_threads(num_threads)


@torch.inference_mode()
def load_over_ranks(followers: Followers, folder: Path) -> PagedModel:
    return load_parallel(
        folder,
        load_config(folder),
        dtype=torch.float32,
        device=CPU,
        kernel_dir=folder / "kernels",
        followers=followers,
    )


def greedy_over_ranks(model: PagedModel, prompts: Sequence[list[int]]) -> list[list[int]]:
    """The tokens of all prompts in one batch, each in blocks of its own."""
    model.attach(num_blocks=BLOCKS * len(prompts) + 1, block_size=BLOCK_SIZE)
    texts = [list(prompt) for prompt in prompts]
    done = [0] * len(prompts)
    for _ in range(MAX_TOKENS):
        logits = forward(model, texts, done)
        done = [len(text) for text in texts]
        for text, token_id in zip(texts, logits.argmax(-1).tolist(), strict=True):
            text.append(token_id)
    return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]


@torch.inference_mode()
def forward(model: PagedModel, texts: Sequence[list[int]], done: Sequence[int]) -> torch.Tensor:
    """Logits behind the last token of each text, of which as many tokens as `done` are in the cache."""
    spans: list[SequenceSpan] = []
    token_ids: list[int] = []
    positions: list[int] = []
    write_rows: list[int] = []
    for number, (text, start) in enumerate(zip(texts, done, strict=True)):
        blocks = range(1 + number * BLOCKS, 1 + (number + 1) * BLOCKS)
        spans.append(
            SequenceSpan(
                num_queries=len(text) - start, num_keys=len(text), blocks=blocks, block_size=BLOCK_SIZE, device=CPU
            )
        )
        token_ids += text[start:]
        positions += range(start, len(text))
        write_rows += [blocks[0] * BLOCK_SIZE + position for position in range(start, len(text))]
    ends = torch.tensor([span.num_queries for span in spans]).cumsum(0) - 1
    batch = AttentionBatch(torch.tensor(write_rows), tuple(spans))
    return model.forward(torch.tensor(token_ids), torch.tensor(positions), batch, ends)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        # Sizes that two ranks cannot halve, and biases behind sums that must count once.
        ("llama", {"vocab_size": 501, "intermediate_size": 63, "attention_bias": True, "mlp_bias": True}),
        ("qwen2", {}),  # biases of the queries, keys and values
        ("qwen3", {"tie_word_embeddings": True}),  # norms of each head
        ("phi3", {}),  # merged projections, which transformers' own modules gather
    ],
)
def test_two_processes_give_the_tokens_of_the_whole_model(
    followers: Followers, tmp_path: Path, family: str, fields: Mapping[str, Any]
) -> None:
    folder = make_model(tmp_path, family, **fields)
    found = greedy_over_ranks(load_over_ranks(followers, folder), PROMPTS)
    for prompt, token_ids in zip(PROMPTS, found, strict=True):
        expected = greedy(folder, prompt)
        assert token_ids[: len(expected)] == expected


def test_each_rank_has_its_own_heads_alone(followers: Followers, tmp_path: Path) -> None:
    model = load_over_ranks(followers, make_model(tmp_path, num_attention_heads=4, num_key_value_heads=2))
    assert {(layer.num_heads, layer.num_kv_heads) for layer in model.layers} == {(2, 1)}


def test_what_a_rank_cannot_load_is_told_by_its_number(followers: Followers, tmp_path: Path) -> None:
    followers.tell(Load(tmp_path, "float32"))
    with pytest.raises(EngineStartError, match=f"rank 1 of 2: the checkpoint {tmp_path} does not load"):
        followers.wait()


async def test_a_rank_that_dies_while_it_starts_is_named(tmp_path: Path) -> None:
    def on_progress(progress: Progress) -> None:
        if "weights" in progress.stage:
            for follower in followers_of(os.getpid()):
                follower.kill()

    engine = SupervisedEngine(EngineOptions(str(make_model(tmp_path)), device="cpu", tensor_parallel=2))
    with pytest.raises(EngineStartError, match="rank 1 of 2 was killed by signal 9"):
        await asyncio.wait_for(engine.start(on_progress), WAIT_S)
    assert followers_of(os.getpid()) == []


def test_the_death_of_a_rank_is_told_once() -> None:
    deaths: queue.Queue[str] = queue.Queue()
    others = followers_of(os.getpid())  # of a model that other tests use
    with Followers(3, on_lost=deaths.put):
        ours = [process for process in followers_of(os.getpid()) if process not in others]
        first, *_ = sorted(ours, key=lambda process: process.cmdline()[-1])
        first.send_signal(signal.SIGKILL)
        assert "rank 1 of 3 was killed by signal 9" in deaths.get(timeout=WAIT_S)
    assert deaths.empty()
    assert followers_of(os.getpid()) == []


def test_followers_that_are_not_needed_any_more_are_no_deaths() -> None:
    deaths: queue.Queue[str] = queue.Queue()
    with Followers(3, on_lost=deaths.put):
        assert len(followers_of(os.getpid())) == 2
    assert followers_of(os.getpid()) == []
    assert deaths.empty()


@pytest.mark.parametrize(
    ("config", "size", "words"),
    [
        (
            {"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3},
            2,
            "9 attention heads and 3 key-value heads, which --tensor-parallel 2 does not divide; it can be 1, 3",
        ),
        ({"model_type": "phi", "hidden_size": 96, "num_attention_heads": 6}, 4, "6 key-value heads, .* 1, 2, 3, 6$"),
        ({"model_type": "gpt2"}, 2, "transformers has no tensor-parallel plan for gpt2"),
    ],
)
def test_a_model_that_cannot_be_shared_out_is_refused(config: Mapping[str, Any], size: int, words: str) -> None:
    with pytest.raises(EngineStartError, match=words):
        check_model(size, AutoConfig.for_model(**config))


def test_more_ranks_than_devices_are_refused() -> None:
    with pytest.raises(EngineStartError, match="--tensor-parallel 64 from cuda:1 on needs 65 devices; torch sees"):
        check_devices(64, torch.device("cuda:1"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deterministic": True}, "--deterministic does not work with --tensor-parallel"),
        ({"weights": "int8"}, "--weights int8 does not work with --tensor-parallel"),
    ],
)
def test_options_that_rule_it_out_are_named(options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(EngineStartError, match=words):
        check_options(EngineOptions("model", tensor_parallel=2, **options))
