"""The Triton kernels of decode attention against plain attention in float64; in the interpreter where no GPU is."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from support.gpu import DEVICE, SMALL, rows_of, scattered_spans
from tokenwire.engine.model.attention import LayerShape, SequenceSpan
from tokenwire.engine.model.gpu.decode_attention import DecodeAttention, Workspace
from tokenwire.engine.model.gpu.plan import make_plan

SCALE = 0.3
AROUND_SPLITS = [(1, keys) for keys in (1, 15, 16, 17, 31, 32, 33, 64, 70)]
SHORT_AND_LONG = [(1, 3), (1, 33), (1, 100)]
VERIFIED = [(3, 3), (1, 40), (8, 33), (2, 65)]


@dataclass(frozen=True)
class Scene:
    """Sequences with their queries and a cache."""

    shape: LayerShape
    spans: Sequence[SequenceSpan]
    qkv: Tensor
    keys: Tensor
    values: Tensor

    @property
    def num_rows(self) -> int:
        return sum(span.num_queries for span in self.spans)

    def attend(self, *, window: int | None = None, padding: int = 0, num_programs: int = 3) -> Tensor:
        """By the kernels: [T + padding, H, D]."""
        plan = make_plan(
            self.spans,
            num_rows=self.num_rows + padding,
            split=SMALL.split,
            queries=max(span.num_queries for span in self.spans),
            pin=False,
        )
        workspace = Workspace.allocate(plan.num_items * plan.queries, self.shape, DEVICE)
        out = self.qkv.new_full((self.num_rows + padding, self.shape.num_heads, self.shape.key_dim), torch.nan)
        block_size = self.spans[0].block_size
        attention = DecodeAttention(self.shape, block_size, SCALE, window, num_programs, SMALL)
        attention(self.qkv, self.keys, self.values, plan.ints.to(DEVICE), workspace, out, queries=plan.queries)
        return out

    def reference(self, *, window: int | None = None) -> Tensor:
        """In float64: [T, H, D]."""
        heads, dim = self.shape.num_heads, self.shape.key_dim
        queries = iter(self.qkv[:, : heads * dim].view(-1, heads, dim).double())
        rows = []
        for span in self.spans:
            for newest in range(span.num_keys - span.num_queries, span.num_keys):
                seen = rows_of(span, range(max(0, newest + 1 - (window or newest + 1)), newest + 1))
                group = heads // self.shape.num_kv_heads
                keys, values = (
                    cache[seen].double().repeat_interleave(group, dim=1) for cache in (self.keys, self.values)
                )
                weights = (torch.einsum("hd,nhd->hn", next(queries), keys) * SCALE).softmax(-1)
                rows.append(torch.einsum("hn,nhd->hd", weights, values))
        return torch.stack(rows)


def make_scene(
    sizes: Sequence[tuple[int, int]],
    *,
    group: int = 2,
    num_kv_heads: int = 1,
    dim: int = 16,
    block_size: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Scene:
    generator = torch.Generator().manual_seed(0)
    shape = LayerShape(num_heads=group * num_kv_heads, num_kv_heads=num_kv_heads, key_dim=dim, value_dim=dim)
    num_blocks = sum(-(-keys // block_size) for _, keys in sizes) + 4
    num_rows = sum(queries for queries, _ in sizes)

    def random(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(DEVICE, dtype)

    return Scene(
        shape,
        scattered_spans(sizes, block_size=block_size, num_blocks=num_blocks),
        random(num_rows, (shape.num_heads + 2 * num_kv_heads) * dim),
        random(num_blocks * block_size, num_kv_heads, dim),
        random(num_blocks * block_size, num_kv_heads, dim),
    )


@pytest.mark.parametrize(
    ("group", "num_kv_heads", "dim", "block_size"),
    [(1, 2, 64, 1), (3, 1, 80, 4), (4, 2, 128, 16), (7, 1, 64, 8), (8, 1, 64, 32)],
)
def test_decodes_attend_as_float64_does(group: int, num_kv_heads: int, dim: int, block_size: int) -> None:
    scene = make_scene(AROUND_SPLITS, group=group, num_kv_heads=num_kv_heads, dim=dim, block_size=block_size)
    torch.testing.assert_close(scene.attend().double(), scene.reference(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("window", [None, 20])
def test_several_queries_of_a_sequence_see_what_is_before_them(group: int, window: int | None) -> None:
    scene = make_scene(VERIFIED, group=group, block_size=4)
    torch.testing.assert_close(
        scene.attend(window=window).double(), scene.reference(window=window), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("window", [1, 16, 40])
def test_a_sliding_window_hides_older_keys(window: int) -> None:
    scene = make_scene(SHORT_AND_LONG)
    torch.testing.assert_close(
        scene.attend(window=window).double(), scene.reference(window=window), rtol=1e-5, atol=1e-5
    )


def test_half_precision_is_rounded_once() -> None:
    scene = make_scene(SHORT_AND_LONG, group=4, dim=64, dtype=torch.float16)
    torch.testing.assert_close(scene.attend().double(), scene.reference(), rtol=2e-3, atol=2e-3)


def test_a_sequence_has_the_same_bits_alone_and_in_any_company() -> None:
    scene = make_scene(VERIFIED, group=3, block_size=8)
    together, first = scene.attend(num_programs=5), 0
    for span in scene.spans:
        rows = slice(first, first + span.num_queries)
        alone = Scene(scene.shape, [span], scene.qkv[rows], scene.keys, scene.values)
        assert torch.equal(alone.attend(num_programs=1), together[rows])
        first += span.num_queries


def test_rows_that_fill_up_a_batch_are_zero() -> None:
    scene = make_scene(SHORT_AND_LONG)
    padded = scene.attend(padding=5)
    assert torch.equal(padded[: scene.num_rows], scene.attend())
    assert not padded[scene.num_rows :].any()
