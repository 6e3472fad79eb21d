"""The C kernel of decode attention against plain attention in float64."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tokenwire.engine.model.native.decode_attention import BlockTables, DecodeAttention, build_decode_attention

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

BLOCK_SIZE, NUM_BLOCKS = 4, 40


def build(folder: Path, *, group: int = 3, key_dim: int = 8, value_dim: int = 8) -> DecodeAttention:
    kernel = build_decode_attention(group=group, key_dim=key_dim, value_dim=value_dim, folder=folder)
    assert kernel is not None
    return kernel


def scattered_tables(lengths: Sequence[int]) -> list[list[int]]:
    blocks = iter(random.Random(0).sample(range(1, NUM_BLOCKS), NUM_BLOCKS - 1))
    return [[next(blocks) for _ in range(-(-length // BLOCK_SIZE))] for length in lengths]


def expected(query: Tensor, keys: Tensor, values: Tensor, table: Sequence[int], length: int, window: int) -> Tensor:
    """One sequence: query [H, Dk] → [H, Dv], float64."""
    rows = [table[i // BLOCK_SIZE] * BLOCK_SIZE + i % BLOCK_SIZE for i in range(max(0, length - window), length)]
    group = query.shape[0] // keys.shape[1]
    k, v = (cache[0, :, rows].double().repeat_interleave(group, 0) for cache in (keys, values))
    scores = torch.einsum("hd,hld->hl", query.double(), k) * 0.3
    return torch.einsum("hl,hld->hd", scores.softmax(-1), v)


@needs_compiler
@pytest.mark.parametrize(
    ("group", "num_kv_heads", "key_dim", "value_dim"), [(3, 2, 8, 8), (1, 4, 64, 64), (8, 1, 24, 16)]
)
@pytest.mark.parametrize("window", [None, 5])
def test_it_attends_as_float64_does_over_scattered_blocks(
    tmp_path: Path, group: int, num_kv_heads: int, key_dim: int, value_dim: int, window: int | None
) -> None:
    torch.manual_seed(0)
    lengths = [1, 4, 5, 33, 17]
    keys = torch.randn(1, num_kv_heads, NUM_BLOCKS * BLOCK_SIZE, key_dim)
    values = torch.randn(1, num_kv_heads, NUM_BLOCKS * BLOCK_SIZE, value_dim)
    query = torch.randn(len(lengths), group * num_kv_heads, key_dim) * 3
    tables = scattered_tables(lengths)
    kernel = build(tmp_path, group=group, key_dim=key_dim, value_dim=value_dim)
    out = kernel(query, keys, values, BlockTables.of(tables, lengths, block_size=BLOCK_SIZE), scale=0.3, window=window)
    for row, (table, length) in enumerate(zip(tables, lengths, strict=True)):
        reference = expected(query[row], keys, values, table, length, window or length)
        torch.testing.assert_close(out[row].double(), reference, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_a_sequence_is_the_same_bits_alone_and_among_others(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lengths = [33, 7, 20, 50]
    keys, values = torch.randn(2, 1, 2, NUM_BLOCKS * BLOCK_SIZE, 8)
    query = torch.randn(len(lengths), 6, 8)
    tables = scattered_tables(lengths)
    kernel = build(tmp_path)

    def attend(rows: slice) -> Tensor:
        batch = BlockTables.of(tables[rows], lengths[rows], block_size=BLOCK_SIZE)
        return kernel(query[rows], keys, values, batch, scale=0.3, window=None)

    together = attend(slice(None))
    for row in range(len(lengths)):
        assert torch.equal(attend(slice(row, row + 1))[0], together[row])


@needs_compiler
def test_not_a_number_reaches_its_own_sequence_only(tmp_path: Path) -> None:
    lengths = [6, 6]
    keys, values = torch.randn(2, 1, 2, NUM_BLOCKS * BLOCK_SIZE, 8)
    tables = scattered_tables(lengths)
    keys[0, :, tables[0][0] * BLOCK_SIZE] = float("nan")
    batch = BlockTables.of(tables, lengths, block_size=BLOCK_SIZE)
    out = build(tmp_path)(torch.randn(2, 6, 8), keys, values, batch, scale=0.3, window=None)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


@needs_compiler
def test_very_unequal_scores_do_not_overflow(tmp_path: Path) -> None:
    keys = torch.zeros(1, 2, NUM_BLOCKS * BLOCK_SIZE, 8)
    keys[0, :, BLOCK_SIZE + 2] = 1e4
    values = torch.randn_like(keys)
    batch = BlockTables.of([[1, 2]], [7], block_size=BLOCK_SIZE)
    out = build(tmp_path)(torch.ones(1, 6, 8), keys, values, batch, scale=1.0, window=None)
    torch.testing.assert_close(out[0], values[0, :, BLOCK_SIZE + 2].repeat_interleave(3, 0))


@needs_compiler
def test_a_kernel_is_compiled_once(tmp_path: Path) -> None:
    build(tmp_path)
    (library,) = tmp_path.iterdir()
    built = library.stat().st_mtime_ns
    build(tmp_path)
    assert [file.stat().st_mtime_ns for file in tmp_path.iterdir()] == [built]


@needs_compiler
def test_the_compiler_of_the_environment_may_have_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -g0")
    build(tmp_path)


def test_without_a_compiler_there_is_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build_decode_attention(group=3, key_dim=8, value_dim=8, folder=tmp_path) is None


def test_the_words_of_a_compiler_that_fails_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho stdint.h: no such file >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert build_decode_attention(group=3, key_dim=8, value_dim=8, folder=tmp_path) is None
    assert "stdint.h: no such file" in caplog.text


@pytest.mark.skipif(shutil.which("false") is None, reason="there is no `false` command")
def test_a_compiler_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    assert build_decode_attention(group=3, key_dim=8, value_dim=8, folder=tmp_path) is None
    assert list(tmp_path.iterdir()) == []
