"""The engine process: what keeps it from starting is told to the operator, and its death to whoever waits for it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from support.tiny import make_model
from tokenwire.engine.assembly import build_engine
from tokenwire.engine.model.architecture import load_config
from tokenwire.engine.model.device import choose_device
from tokenwire.engine.protocol import (
    EngineOptions,
    EngineStartError,
    Generation,
    GenerationRequest,
    Progress,
    SamplingParams,
)
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.errors import EngineFaultError

WAIT_S = 120
REQUEST = GenerationRequest("request", tuple(range(10, 20)), SamplingParams(seed=0, max_tokens=400, ignore_eos=True))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
async def engine(tiny_model: Path) -> AsyncIterator[SupervisedEngine]:
    """Started with the tiny model."""
    engine = SupervisedEngine(EngineOptions(model=str(tiny_model), device="cpu", threads=1))
    await asyncio.wait_for(engine.start(lambda progress: None), WAIT_S)
    yield engine
    await asyncio.wait_for(engine.stop(), WAIT_S)


async def refusal(**options: object) -> str:
    """What the operator is told when an engine with these options does not start."""
    engine = SupervisedEngine(EngineOptions(**options))  # type: ignore[arg-type]
    with pytest.raises(EngineStartError) as caught:
        await asyncio.wait_for(engine.start(lambda progress: None), WAIT_S)
    assert engine_processes() == []
    return str(caught.value)


def engine_processes() -> list[int]:
    """Ids of the engine processes that this process has."""
    children = psutil.Process().children()
    return [child.pid for child in children if "tokenwire.engine.process" in child.cmdline()]


async def receive_all(generation: Generation) -> None:
    """Until it fails: what came before the engine's death is still given."""
    while True:
        await asyncio.wait_for(generation.receive(), WAIT_S)


async def test_a_path_that_is_not_there_is_named() -> None:
    assert "there is no file or folder '/nowhere/model'" in await refusal(model="/nowhere/model")


async def test_a_hub_id_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    message = await refusal(model="nobody/nothing")
    assert "'nobody/nothing' is not in the local hub cache and cannot be fetched" in message


async def test_a_file_of_the_working_folder_is_no_module_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise ImportError")
    monkeypatch.chdir(tmp_path)
    assert "there is no file or folder" in await refusal(model="/nowhere/model")


async def test_too_little_memory_for_the_cache_names_the_flag(tiny_model: Path) -> None:
    message = await refusal(model=str(tiny_model), device="cpu", kv_memory_bytes=1000)
    assert "1000 bytes hold less than 16 tokens" in message
    assert "--kv-memory" in message


async def test_a_step_too_small_for_its_sequences_is_told_before_the_model_is_looked_for() -> None:
    message = await refusal(model="/nowhere/model", max_running=512)
    assert "`max_step_tokens` must be at least `max_running` + `block_size` = 528" in message


def test_a_context_of_less_than_16_tokens_is_no_lack_of_memory(tiny_model: Path) -> None:
    options = EngineOptions(model=str(tiny_model), device="cpu", max_context=8, max_running=1, block_size=1)
    engine = build_engine(options, on_progress=lambda progress: None)
    assert (engine.info.kv_cache_tokens, engine.info.context_length) == (8, 8)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta"])
def test_a_device_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(EngineStartError, match=f"'{device}'"):
        choose_device(device)


async def test_a_context_is_cut_to_what_the_cache_holds(tiny_model: Path) -> None:
    # 4 KiB for a block of 16 tokens; one block is a spare.
    engine = SupervisedEngine(EngineOptions(model=str(tiny_model), device="cpu", kv_memory_bytes=5 * 4096))
    try:
        info = await asyncio.wait_for(engine.start(lambda progress: None), WAIT_S)
    finally:
        await engine.stop()
    assert (info.kv_cache_tokens, info.context_length) == (64, 64)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "T5ForConditionalGeneration is an enc"),
        ({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, "MambaForCausalLM keeps a recurrent state"),
        ({"model_type": "qwen3_next"}, "qwen3_next keeps a recurrent state"),
        ({"model_type": "deepseek_v3"}, "deepseek_v3 uses multi-head latent attention"),
        ({"model_type": "llava"}, "llava takes images or audio"),
        ({"model_type": "vit"}, "vit is not a causal language model"),
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({}, "cannot read the config"),
    ],
)
def test_an_architecture_that_cannot_work_is_refused_by_name(
    tmp_path: Path, config: dict[str, object], words: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineStartError) as caught:
        load_config(tmp_path)
    assert words in str(caught.value)


def test_attention_that_is_not_causal_is_found_by_its_logits(tmp_path: Path) -> None:
    fields = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("bert", **fields, is_decoder=False, intermediate_size=64, initializer_range=0.2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(EngineStartError, match="BertLMHeadModel gives other logits over the paged cache"):
        build_engine(EngineOptions(model=str(tmp_path), device="cpu"), on_progress=lambda progress: None)


def test_a_checkpoint_that_was_copied_in_part_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    weights = folder / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(EngineStartError, match=f"the checkpoint {folder} does not load: .*incomplete"):
        build_engine(EngineOptions(model=str(folder), device="cpu"), on_progress=lambda progress: None)


def test_a_file_of_the_checkpoint_that_is_no_json_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    (folder / "generation_config.json").write_text('{"eos_token_id": 2')
    with pytest.raises(EngineStartError, match=r"generation_config\.json is not valid JSON"):
        build_engine(EngineOptions(model=str(folder), device="cpu"), on_progress=lambda progress: None)


def test_a_sliding_window_that_is_only_in_masks_is_refused(tmp_path: Path) -> None:
    fields = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    experts = {"num_key_value_heads": 2, "intermediate_size": 64, "moe_intermediate_size": 32, "num_experts": 4}
    windows = {"use_sliding_window": True, "sliding_window": 64, "layer_types": ["sliding_attention"] * 2}
    config = AutoConfig.for_model(
        "qwen2_moe", **fields, **experts, **windows, shared_expert_intermediate_size=32, num_experts_per_tok=2
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(EngineStartError, match="Qwen2MoeForCausalLM applies its sliding window in masks alone"):
        build_engine(EngineOptions(model=str(tmp_path), device="cpu"), on_progress=lambda progress: None)


async def test_the_refusal_of_an_architecture_reaches_the_front_end(tmp_path: Path) -> None:
    config = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    message = await refusal(model=str(tmp_path))
    assert "MambaForCausalLM keeps a recurrent state" in message
    assert "vLLM" in message


async def test_an_engine_that_is_killed_while_it_starts_is_told_so(tiny_model: Path) -> None:
    def on_progress(progress: Progress) -> None:
        for pid in engine_processes():
            os.kill(pid, signal.SIGKILL)

    engine = SupervisedEngine(EngineOptions(model=str(tiny_model), device="cpu"))
    with pytest.raises(EngineStartError, match=r"while it started, .* was killed by signal 9; .* memory"):
        await asyncio.wait_for(engine.start(on_progress), WAIT_S)


async def test_a_stopped_engine_fails_its_generations_and_leaves_no_process(engine: SupervisedEngine) -> None:
    generation = engine.generate(REQUEST)
    await asyncio.wait_for(generation.receive(), WAIT_S)
    await asyncio.wait_for(engine.stop(), WAIT_S)
    assert engine_processes() == []
    with pytest.raises(EngineFaultError):
        await receive_all(generation)


async def test_an_engine_that_is_stopped_while_it_starts_is_killed(tiny_model: Path) -> None:
    engine = SupervisedEngine(EngineOptions(model=str(tiny_model), device="cpu"))
    begun = asyncio.Event()

    def on_progress(progress: Progress) -> None:
        begun.set()

    starting = asyncio.create_task(engine.start(on_progress))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    assert len(engine_processes()) == 1
    starting.cancel()
    await asyncio.wait([starting], timeout=WAIT_S)
    assert starting.cancelled()
    assert engine_processes() == []
    await engine.stop()
