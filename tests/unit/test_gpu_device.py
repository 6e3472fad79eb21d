"""What only a CUDA device can show: graphs, flash attention, the whole engine on it. Skipped where there is none."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from support.gpu import DEVICE, forward, load_gpu_decoder, needs_gpu, scattered_spans
from support.inline_engine import InlineEngine, token_ids
from support.tiny import make_model
from tokenwire.engine.model.attention import SequenceSpan
from tokenwire.engine.model.gpu.prefill import PrefillPlan, can_flash, prefill_attention
from tokenwire.engine.protocol import SamplingParams

pytestmark = [pytest.mark.gpu, needs_gpu]

TEXT = [(13 * i) % 480 for i in range(90)]
# Heads that flash attention and the tensor cores take.
WIDE: dict[str, Any] = {"hidden_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_graph_gives_the_bits_of_the_step_that_it_was_captured_from(tmp_path: Path, dtype: torch.dtype) -> None:
    model = load_gpu_decoder(make_model(tmp_path, **WIDE), dtype=dtype)
    model.attach(num_blocks=64, block_size=16)
    spans = scattered_spans([(1, 80), (1, 33), (1, 17)], block_size=16, num_blocks=64)
    texts = [TEXT, TEXT[::-1], TEXT[40:]]
    forward(model, texts, [SequenceSpan(s.num_keys, s.num_keys, s.blocks, 16, DEVICE) for s in spans])
    captured, replayed, again = (forward(model, texts, spans) for _ in range(3))
    assert torch.equal(captured, replayed)
    assert torch.equal(captured, again)


@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_flash_attention_gives_what_sdpa_gives(dtype: torch.dtype, window: int | None) -> None:
    sizes = [(40, 40), (7, 70), (30, 31)]
    spans = scattered_spans(sizes, block_size=16, num_blocks=16)
    num_rows = sum(queries for queries, _ in sizes)
    query = torch.randn(num_rows, 8, 64, device=DEVICE)
    key, value = torch.randn(2, num_rows, 2, 64, device=DEVICE)
    cached = torch.randn(2, 256, 2, 64, device=DEVICE)
    assert can_flash(query.to(dtype))
    plan = PrefillPlan.of(spans, device=DEVICE)

    def attend(dtype: torch.dtype) -> Tensor:
        cache = cached[0].to(dtype), cached[1].to(dtype)
        return prefill_attention(
            query.to(dtype), key.to(dtype), value.to(dtype), cache, plan, scale=0.125, window=window
        )

    torch.testing.assert_close(attend(dtype).float(), attend(torch.float32), rtol=2e-2, atol=2e-2)


def reference(folder: Path, prompt: list[int], count: int) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE).eval()
    inputs = torch.tensor([prompt], device=DEVICE)
    tokens: list[int] = model.generate(
        inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=count, do_sample=False
    )[0, len(prompt) :].tolist()
    return tokens


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_engine_on_a_gpu_gives_the_tokens_of_transformers(tmp_path: Path, family: str) -> None:
    folder = make_model(tmp_path, family)
    engine = InlineEngine(folder, device="cuda", dtype="float32", max_running=8, max_step_tokens=40)
    prompts = [TEXT[:3], TEXT[:17], TEXT[:80], [*TEXT[:64], 9, 8], TEXT[::-1]]
    for number, prompt in enumerate(prompts):
        engine.submit(str(number), prompt, SamplingParams(seed=0, max_tokens=16, temperature=0))
    outputs = engine.run()
    for number, prompt in enumerate(prompts):
        assert token_ids(outputs[str(number), 0]) == reference(folder, prompt, 16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_in_deterministic_mode_company_changes_nothing(tmp_path: Path, dtype: str) -> None:
    folder = make_model(tmp_path, **WIDE)
    engine = InlineEngine(folder, device="cuda", dtype=dtype, max_running=8, max_step_tokens=128, deterministic=True)
    sampling = SamplingParams(seed=3, max_tokens=40, temperature=1, top_logprobs=2, ignore_eos=True)
    engine.submit("alone", TEXT, sampling)
    alone = engine.run()["alone", 0]
    for number in range(7):
        engine.submit(str(number), TEXT[: 11 * number + 5], sampling)
        engine.step()
    engine.submit("beside", TEXT, sampling)
    beside = engine.run()["beside", 0]
    assert token_ids(alone) == token_ids(beside)
    assert [output.logprobs for output in alone] == [output.logprobs for output in beside]
