"""Packed weights and their products in C, against float64, the GGUF package, and themselves bit by bit."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from torch import Tensor

from support.native import GROUP, Native, Packed, needs_compiler
from tokenwire.engine.model.native.weights import Format

pytestmark = needs_compiler

SHAPES = [(1, 1), (7, 5), (16, 32), (17, 33), (40, 100), (33, 64), (5, 31)]
"""Outputs, inputs: most are no whole panels of 16 or groups of 32."""
ROWS = range(1, 14)
INTEGERS = [Format.INT8, Format.INT4]
LARGEST = {Format.INT8: 254, Format.INT4: 15}
"""Steps from the least to the greatest number."""

every_format = pytest.mark.parametrize("format_", list(Format), ids=lambda format_: format_.name)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def groups_of(x: Tensor) -> Tensor:
    """[rows, inputs] → [rows, groups, GROUP], filled up with each row's last number."""
    filled = torch.cat([x, x[:, -1:].expand(-1, -x.shape[1] % GROUP)], 1)
    return filled.reshape(len(x), -1, GROUP)


def assert_product(native: Native, packed: Packed, x: Tensor, bias: Tensor | None) -> None:
    """It is the sum of the products of what weights and inputs stand for, but for float32's rounding of each."""
    inputs = x.shape[1]
    values = native.quantise(x).values(inputs) if packed.format in INTEGERS else x.double()
    expected = values @ packed.weight.double().T + (0 if bias is None else bias.double())
    # INT4 sums numbers and least values apart: each is as large as the greatest weight may be.
    sizes = values.abs().sum(1, keepdim=True) * packed.weight.double().abs().max() + 1
    error = (native.multiply(packed, x, bias=bias).double() - expected).abs()
    assert (error <= sizes * 2**-24 * (inputs + 4)).all()


@every_format
@every_shape
def test_a_product_is_that_of_float64_for_any_number_of_rows(
    native: Native, format_: Format, shape: tuple[int, int]
) -> None:
    packed = native.pack(format_, torch.randn(shape))
    for rows in ROWS:
        x = torch.randn(rows, shape[1])
        assert_product(native, packed, x, None)
        assert_product(native, packed, x, torch.randn(shape[0]))


@every_format
@every_shape
def test_a_row_is_the_same_bits_alone_among_others_and_by_other_tasks(
    native: Native, format_: Format, shape: tuple[int, int]
) -> None:
    packed, bias = native.pack(format_, torch.randn(shape)), torch.randn(shape[0])
    x = torch.randn(max(ROWS), shape[1])
    together = native.multiply(packed, x, bias=bias)
    for row in range(len(x)):
        assert torch.equal(native.multiply(packed, x[row:], bias=bias), together[row:])
        assert torch.equal(native.multiply(packed, x[row : row + 1], bias=bias), together[row : row + 1])
    assert torch.equal(native.multiply(packed, x, bias=bias, row_steps=5, panel_steps=1), together)


@every_format
def test_a_product_can_be_added_to_what_is_there(native: Native, format_: Format) -> None:
    packed, bias, x = native.pack(format_, torch.randn(19, 40)), torch.randn(19), torch.randn(5, 40)
    before = torch.randn(5, 19)
    added = native.multiply(packed, x, bias=bias, add_to=before)
    assert torch.equal(added, before + native.multiply(packed, x, bias=bias))


@every_format
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_row_that_is_not_finite_shows_it_and_leaves_the_others_alone(
    native: Native, format_: Format, bad: float
) -> None:
    packed, x = native.pack(format_, torch.randn(33, 70)), torch.randn(9, 70)
    good = native.multiply(packed, x)
    for column in (0, 31, 32, 69):
        poisoned = x.clone()
        poisoned[4, column] = bad
        out = native.multiply(packed, poisoned)
        assert not out[4].isfinite().any()
        assert torch.equal(out[[0, 1, 2, 3, 5, 6, 7, 8]], good[[0, 1, 2, 3, 5, 6, 7, 8]])


@every_shape
def test_floats_are_kept_as_they_are_and_halves_as_torch_rounds_them(native: Native, shape: tuple[int, int]) -> None:
    weight = torch.randn(shape) * torch.logspace(-7, 3, shape[1])
    assert torch.equal(native.pack(Format.FP32, weight).weight, weight)
    assert torch.equal(native.pack(Format.FP16, weight).weight, weight.half().float())


@pytest.mark.parametrize("format_", INTEGERS)
@every_shape
def test_weights_are_within_half_a_step_of_what_was_packed(
    native: Native, format_: Format, shape: tuple[int, int]
) -> None:
    weight = torch.randn(shape)
    grouped, packed = groups_of(weight), groups_of(native.pack(format_, weight).weight)
    ranges = 2 * grouped.abs().amax(-1) if format_ is Format.INT8 else grouped.amax(-1) - grouped.amin(-1)
    # The scale and the least weight are halves: of 11 bits.
    rounding = grouped.abs().amax(-1) * 2**-10
    allowed = ranges / LARGEST[format_] / 2 + rounding
    assert ((grouped - packed).abs() <= allowed.unsqueeze(-1)).all()


@every_format
@every_shape
def test_packing_again_what_packed_weights_stand_for_changes_nothing(
    native: Native, format_: Format, shape: tuple[int, int]
) -> None:
    once = native.pack(format_, torch.randn(shape))
    again = native.pack(format_, once.weight)
    torch.testing.assert_close(again.weight, once.weight, rtol=0, atol=2e-7)
    assert torch.equal(again.bytes, once.bytes)


@pytest.mark.parametrize(
    ("format_", "kind"),
    [(Format.INT8, GGMLQuantizationType.Q8_0), (Format.INT4, GGMLQuantizationType.Q4_1)],
    ids=["Q8_0", "Q4_1"],
)
def test_weights_of_a_gguf_file_are_packed_as_they_are(
    native: Native, format_: Format, kind: GGMLQuantizationType
) -> None:
    weight = torch.randn(48, 256).numpy() * np.float32(0.1)
    stored = torch.from_numpy(quants.dequantize(quants.quantize(weight, kind), kind))
    torch.testing.assert_close(
        native.pack(format_, stored).weight, stored, rtol=0, atol=1e-4 * stored.abs().max().item()
    )


@pytest.mark.parametrize("format_", INTEGERS)
@pytest.mark.parametrize("value", [0.0, 0.25, -0.25])
def test_groups_of_one_value_stand_for_it(native: Native, format_: Format, value: float) -> None:
    weight = torch.full((17, 40), value)
    torch.testing.assert_close(native.pack(format_, weight).weight, weight, rtol=2**-11, atol=0)


@pytest.mark.parametrize("size", [1e-36, 1e-29, 1e-6, 1.0, 1e6, 1e36])
@pytest.mark.parametrize("inputs", [1, 31, 32, 33, 100])
def test_inputs_are_within_half_a_step_of_their_numbers(native: Native, size: float, inputs: int) -> None:
    x = torch.randn(7, inputs) * size
    steps = groups_of(x).abs().amax(-1).double() / 32767
    error = (groups_of(native.quantise(x).values(inputs)) - groups_of(x.double())).abs()
    # 32767 / largest and its product with an input are rounded, too: 3 units in the last place of 32767.
    assert (error <= (0.5 + 32767 * 3 * 2**-24) * steps.unsqueeze(-1) + 1e-30).all()


def test_the_greatest_input_is_the_greatest_number_and_what_is_missing_counts_as_zero(native: Native) -> None:
    numbers = native.quantise(torch.tensor([[-3.0, 1.5, 0.0]])).numbers
    assert numbers[0, 0, :3].tolist() == [-32767, 16384, 0]
    assert not numbers[0, 0, 3:].any()


def test_inputs_of_nothing_but_zeros_are_zeros(native: Native) -> None:
    assert not native.quantise(torch.zeros(2, 40)).values(40).any()


def test_the_sum_of_a_group_is_that_of_its_numbers(native: Native) -> None:
    numbers = native.quantise(torch.randn(5, 100))
    torch.testing.assert_close(numbers.sums.double(), numbers.values(128).reshape(5, -1, GROUP).sum(-1))
