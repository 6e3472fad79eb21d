"""Checkpoints: folders as they are, GGUF files converted once, and what is read out of their configs."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from support.tiny import make_model
from support.tiny_gguf import write_gguf
from tokenwire.engine.model.checkpoint import eos_token_ids, resolve_checkpoint, weights_fingerprint
from tokenwire.engine.protocol import EngineStartError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def gguf_file(checkpoint: Path) -> Path:
    return write_gguf(checkpoint, checkpoint.parent / "tiny.gguf")


class Resolver:
    """Resolves models with a cache of its own and keeps what is told meanwhile."""

    def __init__(self, cache_dir: Path) -> None:
        self.cache_dir = cache_dir
        self.stages: list[str] = []

    def __call__(self, model: Path, *, dtype: torch.dtype = torch.float32) -> Path:
        return resolve_checkpoint(
            str(model),
            gguf_dtype=dtype,
            cache_dir=self.cache_dir,
            on_progress=lambda progress: self.stages.append(progress.stage),
        )

    @property
    def cached(self) -> list[Path]:
        """What is in the cache, but for empty lock files."""
        return [path for path in self.cache_dir.glob("converted/*") if path.is_dir()]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolver:
    return Resolver(tmp_path / "cache")


def test_a_folder_is_taken_as_it_is(checkpoint: Path, resolve: Resolver) -> None:
    assert resolve(checkpoint) == checkpoint
    assert resolve.stages == []


def test_a_gguf_file_becomes_the_checkpoint_that_it_was_made_of(
    checkpoint: Path, gguf_file: Path, resolve: Resolver
) -> None:
    folder = resolve(gguf_file)
    converted, original = (load_file(path / "model.safetensors") for path in (folder, checkpoint))
    assert converted.keys() == original.keys()
    assert all(torch.equal(converted[name], original[name]) for name in original)
    text = "<|im_start|>user\nHello, naïve 你好<|im_end|>"
    ids, expected = (AutoTokenizer.from_pretrained(path).encode(text) for path in (folder, checkpoint))
    assert ids == expected
    assert eos_token_ids(folder) == eos_token_ids(checkpoint)


def test_a_gguf_file_is_converted_once_for_each_number_type(gguf_file: Path, resolve: Resolver) -> None:
    first = resolve(gguf_file)
    assert resolve(gguf_file) == first
    assert resolve.stages == ["converting tiny.gguf (once)"]
    assert resolve(gguf_file, dtype=torch.bfloat16) != first
    assert len(resolve.stages) == len(resolve.cached) == 2


def test_a_gguf_file_that_changed_is_converted_again(gguf_file: Path, resolve: Resolver, tmp_path: Path) -> None:
    copy = Path(shutil.copy(gguf_file, tmp_path / "tiny.gguf"))
    first = resolve(copy)
    with copy.open("ab") as file:
        file.write(b"\0")
    assert resolve(copy) != first


@pytest.mark.parametrize("end", [2, 16, 3000, -1000])
def test_a_gguf_file_that_was_cut_off_is_told_and_leaves_nothing(
    gguf_file: Path, resolve: Resolver, tmp_path: Path, end: int
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf_file.read_bytes()[:end])
    with pytest.raises(EngineStartError, match=r"cannot read broken\.gguf"):
        resolve(broken)
    assert resolve.cached == []


def test_what_a_killed_conversion_left_is_cleared_away(gguf_file: Path, resolve: Resolver) -> None:
    folder = resolve(gguf_file)
    folder.rename(folder.with_name(f".{folder.name}.unfinished"))
    assert resolve(gguf_file) == folder
    assert resolve.cached == [folder]


def test_a_file_that_is_no_gguf_file_is_told(resolve: Resolver, tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    with pytest.raises(EngineStartError, match=r"model\.bin is a file but not a \.gguf file"):
        resolve(tmp_path / "model.bin")


def test_a_folder_without_a_config_is_told_with_the_gguf_files_in_it(resolve: Resolver, tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"has no config\.json"):
        resolve(tmp_path)
    (tmp_path / "weights.Q4_0.gguf").touch()
    with pytest.raises(EngineStartError, match=r"name one: weights\.Q4_0\.gguf"):
        resolve(tmp_path)


def test_the_ends_of_text_of_all_three_configs_count(tmp_path: Path) -> None:
    assert eos_token_ids(tmp_path) == ()
    files = {
        "config.json": {"eos_token_id": 9},
        "generation_config.json": {"eos_token_id": [9, 4]},
        "tokenizer_config.json": {"eos_token": {"content": "<end>"}},
        "tokenizer.json": {"added_tokens": [{"id": 2, "content": "<end>"}, {"id": 3, "content": "<start>"}]},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert eos_token_ids(tmp_path) == (2, 4, 9)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<start>"}))
    assert eos_token_ids(tmp_path) == (3, 4, 9)


def test_the_fingerprint_tells_weights_and_precision_apart(checkpoint: Path, tmp_path: Path) -> None:
    same = weights_fingerprint(checkpoint, dtype=torch.float32, weights="int8")
    copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    assert weights_fingerprint(copy, dtype=torch.float32, weights="int8") == same
    assert weights_fingerprint(copy, dtype=torch.bfloat16, weights="int8") != same
    assert weights_fingerprint(copy, dtype=torch.float32, weights="int4") != same
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert weights_fingerprint(copy, dtype=torch.float32, weights="int8") != same
