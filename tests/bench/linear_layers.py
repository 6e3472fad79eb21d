"""All linear layers of SmolLM2-135M on one thread, by the kernels at hand: torch's own, oneDNN's packed ones, and ours.

Every kernel multiplies the same shapes with weights of its own for each layer, so that they come from memory as they do
in a step. The kernels take turns; the table has the least time of each, in ms, which is the least disturbed.
"""

import argparse
import ctypes
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.native import Rows
from tokenwire.engine.model.linear import PackedLinear
from tokenwire.engine.model.native.decoder import load_library
from tokenwire.engine.model.native.structures import Linear
from tokenwire.engine.model.native.weights import Format, pack

LAYERS = [(960, 576), (576, 576), (3072, 576), (576, 1536)] * 30 + [(49152, 576)]
"""(outputs, inputs)"""

Run = Callable[[dict[int, Tensor]], object]
"""One pass over all layers, with the inputs [rows, width] by width."""


def torch_linear(layers: Sequence[nn.Linear]) -> Run:
    """`torch.nn.functional.linear` in float32."""
    return lambda x: [layer(x[layer.in_features]) for layer in layers]


def onednn_packed(layers: Sequence[nn.Linear]) -> Run:
    """Packed once for oneDNN, float32."""
    packed = [PackedLinear(layer.weight, None) for layer in layers]
    return lambda x: [layer(x[layer.in_features]) for layer in packed]


def fbgemm_fp16(layers: Sequence[nn.Linear]) -> Run:
    """`quantized::linear_dynamic_fp16`: weights as halves."""
    packed = [
        (layer.in_features, torch.ops.quantized.linear_prepack_fp16(layer.weight.detach(), None)) for layer in layers
    ]
    return lambda x: [torch.ops.quantized.linear_dynamic_fp16(x[width], weight) for width, weight in packed]


def native(library: ctypes.CDLL, format_: Format) -> Callable[[Sequence[nn.Linear]], Run]:
    """Ours, with the rounding of the inputs."""

    def make(layers: Sequence[nn.Linear]) -> Run:
        packed = [pack(library, [layer], (format_,)) for layer in layers]
        structures = [(layer, layer.structure, -(-layer.outputs // 16)) for layer in packed]
        most = max(layer.outputs for layer in packed)

        def run(x: dict[int, Tensor]) -> None:
            rows = len(next(iter(x.values())))
            y = torch.empty(rows, most)
            for layer, structure, panels in structures:
                inputs = _inputs(library, x[layer.inputs], rounded=format_ in (Format.INT8, Format.INT4))
                library.linear_panels(structure, inputs, y.data_ptr(), 0, rows, 0, panels, 0)

        return run

    return make


def _inputs(library: ctypes.CDLL, x: Tensor, *, rounded: bool) -> Rows:
    if not rounded:
        return Rows(x.data_ptr(), None, None, None)
    numbers = torch.empty(x.shape, dtype=torch.int16)
    scales, sums = torch.empty(2, x.shape[0], x.shape[1] // 32)
    # All rows at once: their widths are multiples of a group.
    library.quantise(x.data_ptr(), x.numel(), numbers.data_ptr(), scales.data_ptr(), sums.data_ptr())
    inputs = Rows(x.data_ptr(), numbers.data_ptr(), scales.data_ptr(), sums.data_ptr())
    inputs.keeps = (numbers, scales, sums)
    return inputs


def declare(library: ctypes.CDLL) -> None:
    """Functions that only this program calls."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.quantise.argtypes = [pointer, number, pointer, pointer, pointer]
    library.quantise.restype = None
    library.linear_panels.argtypes = [
        *(ctypes.POINTER(Linear), ctypes.POINTER(Rows), pointer),
        *(number, number, number, number, ctypes.c_int),
    ]
    library.linear_panels.restype = None


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        library = load_library(Path(folder))
    if library is None:
        raise SystemExit("no C compiler")
    declare(library)
    makers: dict[str, Callable[[Sequence[nn.Linear]], Run]] = {
        "torch fp32": torch_linear,
        "oneDNN packed fp32": onednn_packed,
        "torch fbgemm fp16": fbgemm_fp16,
        **{f"native {format_.name.lower()}": native(library, format_) for format_ in Format},
    }
    figures = measure(makers, arguments.rows, arguments.rounds)
    print(f"| kernel | {' | '.join(f'{rows} rows' for rows in arguments.rows)} |\n|---|{'---|' * len(arguments.rows)}")
    for name, times in figures.items():
        print(f"| {name} | {' | '.join(f'{time_ms:.1f}' for time_ms in times.values())} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


@torch.inference_mode()
def measure(
    makers: dict[str, Callable[[Sequence[nn.Linear]], Run]], rows: Sequence[int], rounds: int
) -> dict[str, dict[int, float]]:
    """Least ms of a pass over all layers, by kernel and number of rows."""
    layers = [nn.Linear(inputs, outputs, bias=False) for outputs, inputs in LAYERS]
    runs = {name: make(layers) for name, make in makers.items()}
    figures: dict[str, dict[int, float]] = {name: {} for name in runs}
    for count in rows:
        x = {width: torch.randn(count, width) for width in {inputs for _, inputs in LAYERS}}
        for _ in range(rounds):
            for name, run in runs.items():
                started = time.perf_counter()
                run(x)
                elapsed_ms = 1e3 * (time.perf_counter() - started)
                figures[name][count] = min(elapsed_ms, figures[name].get(count, elapsed_ms))
    return figures


if __name__ == "__main__":
    main()
