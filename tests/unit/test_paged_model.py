"""The engine's answers against transformers' own, for every supported family."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from support.inline_engine import InlineEngine, token_ids
from support.tiny import FAMILIES, make_model
from tokenwire.engine.model.architecture import load_config
from tokenwire.engine.model.loading import load_model
from tokenwire.engine.protocol import EngineStartError, SamplingParams

MAX_TOKENS = 24
LONG = [7 + 13 * i % 480 for i in range(150)]
# Short and long ones, and three that share a beginning of several blocks.
PROMPTS = [[11], LONG[:5], LONG[:17], LONG[:100], [*LONG[:64], 9, 8], [*LONG[:64], 4, 3, 2, 5], LONG, LONG[::-1]]


@pytest.fixture(params=sorted(FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_model(tmp_path / request.param, request.param)


def reference(folder: Path, prompt: Sequence[int]) -> tuple[list[int], list[float]]:
    """Greedy tokens of transformers' `generate`, and their log-probabilities by one whole forward pass."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = torch.tensor([prompt])
    tokens = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=MAX_TOKENS, do_sample=False)[
        0, len(prompt) :
    ]
    with torch.inference_mode():
        logits = model(torch.cat([inputs[0], tokens]).unsqueeze(0)).logits[0, len(prompt) - 1 : -1]
    logprobs = logits.double().log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return tokens.tolist(), logprobs.tolist()


def test_chunked_mixed_batches_give_the_tokens_and_logprobs_of_transformers(checkpoint: Path) -> None:
    # A budget below the prompts' lengths: prefill comes in chunks, beside decodes and cached prefixes.
    engine = InlineEngine(checkpoint, max_running=8, max_step_tokens=40)
    sampling = SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0, top_logprobs=0)
    for number, prompt in enumerate(PROMPTS):
        engine.submit(str(number), prompt, sampling)
    outputs = engine.run()
    for number, prompt in enumerate(PROMPTS):
        expected_tokens, expected_logprobs = reference(checkpoint, prompt)
        sequence = outputs[str(number), 0]
        assert token_ids(sequence) == expected_tokens
        logprobs = [entry.logprob for output in sequence for entry in output.logprobs]
        assert logprobs == pytest.approx(expected_logprobs, abs=1e-4)


def test_a_cached_prefix_changes_nothing_but_the_work(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    engine = InlineEngine(folder, max_running=8, max_step_tokens=64)
    sampling = SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0, top_logprobs=0)
    results = []
    for request_id in ("cold", "warm"):
        engine.submit(request_id, LONG, sampling)
        results.append(engine.run()[request_id, 0])
    cold, warm = results
    assert (cold[0].cached_tokens, warm[0].cached_tokens) == (0, 144)
    assert token_ids(cold) == token_ids(warm)


def test_preempted_sequences_end_with_the_same_tokens(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    sampling = SamplingParams(seed=5, max_tokens=60, temperature=0.8, ignore_eos=True)
    roomy = InlineEngine(folder, max_running=4, max_step_tokens=64)
    # 4 KiB a block of 16 tokens: 12 blocks for four sequences that grow to 5 blocks each.
    tight = InlineEngine(folder, max_running=4, max_step_tokens=64, kv_memory_bytes=13 * 4096, max_context=128)
    results = []
    for engine in (roomy, tight):
        for number in range(4):
            engine.submit(str(number), LONG[number : number + 10], sampling)
        results.append({key: token_ids(outputs) for key, outputs in engine.run().items()})
    assert tight.scheduler.load(0).preemptions > 0
    assert results[0] == results[1]


def test_without_a_compiler_the_answers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    folder = make_model(tmp_path)
    # Small blocks and others' sequences in between: rows that are not consecutive are gathered.
    engine = InlineEngine(folder, max_running=8, max_step_tokens=40, block_size=4)
    for number, prompt in enumerate(PROMPTS):
        engine.submit(str(number), prompt, SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0))
    outputs = engine.run()
    for number, prompt in enumerate(PROMPTS):
        assert token_ids(outputs[str(number), 0]) == reference(folder, prompt)[0]


def pass_of(folder: Path, kernel_dir: Path, *, weights: str = "fp32") -> str:
    with torch.inference_mode():
        model = load_model(
            folder,
            load_config(folder),
            dtype=torch.float32,
            device=torch.device("cpu"),
            kernel_dir=kernel_dir,
            weights=weights,
        )
    return model.pass_name


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("weights", ["fp32", "fp16", "int8", "int4", "auto"])
def test_llama_shaped_models_take_the_native_pass(tmp_path: Path, family: str, weights: str) -> None:
    assert (
        pass_of(make_model(tmp_path / family, family), tmp_path.parent / "kernels", weights=weights) == "NativeDecoder"
    )


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_without_a_compiler_they_take_the_lean_pass(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert pass_of(make_model(tmp_path / family, family), tmp_path / "kernels") == "LeanDecoder"


def test_other_models_take_their_own_modules(tmp_path: Path) -> None:
    assert pass_of(make_model(tmp_path / "gpt2", "gpt2"), tmp_path / "kernels") == "ModuleForward"


def test_weights_that_no_pass_stores_so_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"--weights int8 needs .*GPT2LMHeadModel on cpu in float32"):
        pass_of(make_model(tmp_path / "gpt2", "gpt2"), tmp_path / "kernels", weights="int8")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_weights_are_loaded_once(tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / family, family)
    loads = []

    def from_pretrained(*args: object, **kwargs: object) -> object:
        loads.append(args)
        return original(*args, **kwargs)

    original = AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    InlineEngine(folder)
    assert len(loads) == 1


@pytest.mark.parametrize("tied", [True, False])
def test_half_precision_runs_lean_without_packed_layers(tmp_path: Path, tied: bool) -> None:
    folder = make_model(tmp_path / "model", tie_word_embeddings=tied)
    with torch.inference_mode():
        model = load_model(
            folder,
            load_config(folder),
            dtype=torch.bfloat16,
            device=torch.device("cpu"),
            kernel_dir=tmp_path / "kernels",
        )
    assert model.pass_name == "LeanDecoder"


def test_a_llama_with_another_activation_is_still_right(tmp_path: Path) -> None:
    folder = make_model(tmp_path, hidden_act="gelu", attention_bias=True, mlp_bias=True)
    engine = InlineEngine(folder, max_running=4, max_step_tokens=40)
    engine.submit("0", LONG, SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0))
    assert token_ids(engine.run()["0", 0]) == reference(folder, LONG)[0]


def test_biases_of_merged_projections_count(tmp_path: Path) -> None:
    folder = make_model(tmp_path, attention_bias=True, mlp_bias=True)
    engine = InlineEngine(folder, max_running=4, max_step_tokens=40)
    engine.submit("0", LONG, SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0))
    assert token_ids(engine.run()["0", 0]) == reference(folder, LONG)[0]


def test_sliding_windows_hide_older_keys(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "mistral", sliding_window=16)
    engine = InlineEngine(folder, max_running=4, max_step_tokens=40)
    engine.submit("0", LONG, SamplingParams(seed=0, max_tokens=MAX_TOKENS, temperature=0))
    assert token_ids(engine.run()["0", 0]) == reference(folder, LONG)[0]
