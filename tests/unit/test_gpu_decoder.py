"""The GPU's forward pass against transformers; in Triton's interpreter where no GPU is."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from support.gpu import DEVICE, forward, load_gpu_decoder, scattered_spans
from support.tiny import make_model
from tokenwire.engine.model.architecture import load_config
from tokenwire.engine.model.attention import SequenceSpan
from tokenwire.engine.model.gpu.eligibility import can_decode
from tokenwire.engine.model.gpu.graphs import padded_rows
from tokenwire.engine.model.lean import has_right_shape

BLOCK_SIZE, NUM_BLOCKS = 4, 64
TEXTS = [[(7 * start + 13 * i) % 480 for i in range(length)] for start, length in enumerate((41, 17, 30, 14))]


def expected_logits(folder: Path, text: Sequence[int]) -> Tensor:
    """Of transformers' own forward pass: [T, V] in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE).eval()
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([text], device=DEVICE)).logits[0]
    return logits


def spans_at(spans: Sequence[SequenceSpan], places: Sequence[range]) -> list[SequenceSpan]:
    """The same sequences, further back or with other queries."""
    return [
        SequenceSpan(len(place), place.stop, span.blocks[: -(-place.stop // BLOCK_SIZE)], BLOCK_SIZE, DEVICE)
        for span, place in zip(spans, places, strict=True)
    ]


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("mistral", {"sliding_window": 9}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}, "head_dim": 12}),
    ],
)
def test_a_mixed_batch_has_the_logits_of_transformers(tmp_path: Path, family: str, changes: dict[str, object]) -> None:
    folder = make_model(tmp_path, family, **changes)
    model = load_gpu_decoder(folder)
    model.attach(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
    spans = scattered_spans([(1, len(text)) for text in TEXTS], block_size=BLOCK_SIZE, num_blocks=NUM_BLOCKS)
    forward(model, TEXTS[:3], spans_at(spans[:3], [range(40), range(12), range(9)]))
    # A decode, a speculation of five tokens, a chunk on top of a prefix, and a whole prompt.
    places = [range(40, 41), range(12, 17), range(9, 30), range(14)]
    logits = forward(model, TEXTS, spans_at(spans, places))
    expected = [expected_logits(folder, text)[place] for text, place in zip(TEXTS, places, strict=True)]
    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_steps_without_prompts_have_the_logits_of_transformers_whatever_their_size(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    model = load_gpu_decoder(folder)
    model.attach(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
    spans = scattered_spans([(1, len(text)) for text in TEXTS], block_size=BLOCK_SIZE, num_blocks=NUM_BLOCKS)
    expected = [expected_logits(folder, text) for text in TEXTS]
    prompts = [range(10)] * len(TEXTS)
    forward(model, TEXTS, spans_at(spans, prompts))
    # All, three (filled up to four rows), and all again where that graph has been used; then speculations.
    for count, places in ((4, range(10, 11)), (3, range(11, 12)), (4, range(11, 12)), (2, range(12, 14))):
        logits = forward(model, TEXTS[:count], spans_at(spans[:count], [places] * count))
        rows = torch.cat([logits_of_text[places] for logits_of_text in expected[:count]])
        torch.testing.assert_close(logits, rows, rtol=1e-4, atol=1e-4)


def test_a_decode_has_the_same_bits_whatever_stands_beside_it(tmp_path: Path) -> None:
    model = load_gpu_decoder(make_model(tmp_path))
    model.attach(num_blocks=NUM_BLOCKS, block_size=BLOCK_SIZE)
    spans = scattered_spans([(1, len(text)) for text in TEXTS], block_size=BLOCK_SIZE, num_blocks=NUM_BLOCKS)
    forward(model, TEXTS, spans_at(spans, [range(len(text)) for text in TEXTS]))
    # Of three and of four sequences: products of four rows each, so the rest of the pass is what is compared.
    four = forward(model, TEXTS, spans)
    three = forward(model, TEXTS[:3], spans[:3])
    assert torch.equal(three, four[:3])


@pytest.mark.parametrize("num_rows", [1, 2, 3, 5, 8, 9, 33, 64, 65, 200, 512])
def test_batches_are_filled_up_by_less_than_their_own_size(num_rows: int) -> None:
    assert num_rows <= padded_rows(num_rows) < 2 * num_rows


def test_every_batch_of_whole_tiles_stays_as_it_is() -> None:
    assert all(padded_rows(num_rows) == num_rows for num_rows in range(64, 513, 64))


def test_a_model_is_tried_where_its_rotation_can_be_tabulated() -> None:
    assert has_right_shape(LlamaConfig())
    assert has_right_shape(Qwen2Config())
    assert not has_right_shape(LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}))
    assert not has_right_shape(LlamaConfig(hidden_act="gelu"))


def test_no_model_is_tried_on_a_cpu(tmp_path: Path) -> None:
    config = load_config(make_model(tmp_path))
    assert can_decode(config, torch.device("cuda"))
    assert not can_decode(config, torch.device("cpu"))
