"""The whole forward pass in C: transformers' logits in float64, and the same bits however work is batched and cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from support.native import Native, needs_compiler
from support.tiny import make_model
from tokenwire.engine.model.attention import AttentionBatch, SequenceSpan
from tokenwire.engine.model.loading import load_weights, record_attention
from tokenwire.engine.model.native.decoder import NativeDecoder
from tokenwire.engine.model.native.weights import FORMATS

# A hang is in C, where no signal is handled: end the process.
pytestmark = [needs_compiler, pytest.mark.timeout(120, method="thread")]

CPU = torch.device("cpu")
BLOCK_SIZE = 4
NUM_BLOCKS = 64
TEXTS = [[7 + 13 * i % 480 for i in range(40)], [5 + 29 * i % 480 for i in range(23)], [11], [300, 12, 90, 41, 7]]
BAD_TOKEN = 499

Part = tuple[int, int, int]
"""A text's number and the positions [first, last) that a step computes."""


@dataclass(frozen=True, slots=True)
class Runner:
    """A pass, and blocks of its cache for each text, interleaved so that none has consecutive ones."""

    decoder: NativeDecoder

    @classmethod
    def of(
        cls, folder: Path, native: Native, *, weights: str = "fp32", threads: int = 2, bad: float | None = None
    ) -> "Runner":
        """`bad`: what BAD_TOKEN's embedding has as its first number."""
        model = load_weights(folder, dtype=torch.float32, device=CPU)
        with torch.inference_mode():
            if bad is not None:
                model.get_input_embeddings().weight[BAD_TOKEN, 0] = bad
            attention = record_attention(model, torch.tensor([1, 2]))
            decoder = NativeDecoder(
                model, attention, native.library, formats=FORMATS[weights], context_length=256, num_threads=threads
            )
            decoder.attach(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
        return cls(decoder)

    def run(self, texts: Sequence[Sequence[int]], steps: Sequence[Sequence[Part]]) -> list[Tensor]:
        """The logits [T, V] of each text after those steps."""
        logits: list[list[Tensor]] = [[] for _ in texts]
        for step in steps:
            spans = tuple(self.span(number, first, last, len(texts)) for number, first, last in step)
            ids = torch.tensor([token for number, first, last in step for token in texts[number][first:last]])
            positions = torch.cat([torch.arange(first, last) for _, first, last in step])
            batch = AttentionBatch(torch.empty(0), spans)
            with torch.inference_mode():
                out = self.decoder(ids, positions, batch, torch.arange(len(ids)))
            for (number, _, _), part in zip(step, torch.split(out, [span.num_queries for span in spans]), strict=True):
                logits[number].append(part)
        return [torch.cat(parts) for parts in logits]

    def span(self, number: int, first: int, last: int, count: int) -> SequenceSpan:
        """Of one of `count` texts."""
        blocks = list(range(1 + number, NUM_BLOCKS, count))[: -(-last // BLOCK_SIZE)]
        return SequenceSpan(num_queries=last - first, num_keys=last, blocks=blocks, block_size=BLOCK_SIZE, device=CPU)

    def alone(self, texts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Each text in one step of its own."""
        return [self.run([text], [[(0, 0, len(text))]])[0] for text in texts]


def in_steps(texts: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[list[Part]]:
    """Texts computed side by side, so many tokens of each a step."""
    steps: list[list[Part]] = []
    done = [0] * len(texts)
    while any(done[number] < len(text) for number, text in enumerate(texts)):
        step = []
        for number, text in enumerate(texts):
            last = min(done[number] + sizes[number], len(text))
            if last > done[number]:
                step.append((number, done[number], last))
            done[number] = last
        steps.append(step)
    return steps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # No whole groups or panels, three heads to a key head, biases, and a window that hides keys.
    return make_model(tmp_path_factory.mktemp("model"), "mistral", **SHAPE)


SHAPE = {
    "hidden_size": 60,
    "intermediate_size": 100,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 20,
    "sliding_window": 16,
}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("weights", sorted(FORMATS))
def test_logits_are_those_of_transformers_in_float64_with_the_packed_weights(
    tmp_path: Path, native: Native, family: str, weights: str
) -> None:
    model_folder = make_model(tmp_path, family)
    model = load_weights(model_folder, dtype=torch.float32, device=CPU)
    with torch.inference_mode():
        attention = record_attention(model, torch.tensor([1, 2]))
        decoder = NativeDecoder(
            model, attention, native.library, formats=FORMATS[weights], context_length=256, num_threads=2
        )
        decoder.attach(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
        exact = model.double()  # whose weights are now what the packed ones stand for
        logits = Runner(decoder).run(TEXTS, in_steps(TEXTS, [9, 1, 1, 5]))
        for text, out in zip(TEXTS, logits, strict=True):
            expected = exact(input_ids=torch.tensor([text]), use_cache=False).logits[0]
            error = (out.double() - expected).abs().max() / expected.abs().max()
            assert error <= (1e-5 if weights in ("fp32", "fp16") else 1e-3)  # inputs of 16 bits


@pytest.mark.parametrize("weights", sorted(FORMATS))
def test_rows_are_the_same_bits_alone_among_others_as_decodes_and_on_any_number_of_threads(
    folder: Path, native: Native, weights: str
) -> None:
    expected = Runner.of(folder, native, weights=weights, threads=1).alone(TEXTS)
    for threads in (1, 2, 3):
        runner = Runner.of(folder, native, weights=weights, threads=threads)
        for sizes in ([40] * 4, [1] * 4, [7, 1, 1, 2], [1, 23, 1, 3]):
            for out, alone in zip(runner.run(TEXTS, in_steps(TEXTS, sizes)), expected, strict=True):
                assert torch.equal(out, alone)


@pytest.fixture(scope="module")
def mixed(folder: Path, native: Native) -> tuple[Runner, list[Tensor]]:
    """A pass on three threads, and the bits of each text alone."""
    runner = Runner.of(folder, native, weights="int4", threads=3)
    return runner, runner.alone(TEXTS)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_way_to_cut_and_mix_texts_changes_a_bit(mixed: tuple[Runner, list[Tensor]], data: st.DataObject) -> None:
    runner, expected = mixed
    done = [0] * len(TEXTS)
    steps = []
    while open_texts := [number for number, text in enumerate(TEXTS) if done[number] < len(text)]:
        chosen = data.draw(st.lists(st.sampled_from(open_texts), unique=True, min_size=1))
        step = []
        for number in chosen:
            last = data.draw(st.integers(done[number] + 1, len(TEXTS[number])))
            step.append((number, done[number], last))
            done[number] = last
        steps.append(step)
    for out, alone in zip(runner.run(TEXTS, steps), expected, strict=True):
        assert torch.equal(out, alone)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("weights", ["fp32", "int4"])
def test_a_text_that_is_not_finite_shows_it_and_leaves_the_others_alone(
    folder: Path, native: Native, weights: str, bad: float
) -> None:
    texts = [*TEXTS, [5, 6, 7, 8, 9, BAD_TOKEN, 3, 4]]
    runner = Runner.of(folder, native, weights=weights, bad=bad)
    *others, own = runner.run(texts, in_steps(texts, [5, 1, 1, 2, 5]))
    assert own[:5].isfinite().all()
    assert not own[5:].isfinite().any()
    for out, alone in zip(others, runner.alone(TEXTS), strict=True):
        assert torch.equal(out, alone)


def test_only_the_logits_that_are_asked_for_are_given_in_the_order_asked(folder: Path, native: Native) -> None:
    runner = Runner.of(folder, native)
    expected = runner.alone(TEXTS[:1])[0]
    batch = AttentionBatch(torch.empty(0), (runner.span(0, 0, 40, 1),))
    with torch.inference_mode():
        for rows in ([39], [3, 1], []):
            logits = runner.decoder(
                torch.tensor(TEXTS[0]), torch.arange(40), batch, torch.tensor(rows, dtype=torch.int64)
            )
            assert torch.equal(logits, expected[rows])
