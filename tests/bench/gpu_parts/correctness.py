"""The tests of the GPU's code, on the GPU: kernels and passes against float64 and transformers, graphs, sampling."""

import re
import subprocess
import sys
from pathlib import Path

import torch

from bench.gpu_parts.scale import DEVICE, Scale, tell

TESTS = Path(__file__).parents[2] / "unit"


def run(scale: Scale) -> None:
    """Run them without the repository's plugins and conftest: they need packages that the machine may lack."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU, interpreted"
    tell("device", name, f"torch {torch.__version__}, Python {sys.version.split()[0]}")
    for path in sorted(set(TESTS.glob("test_gpu_*.py")) - {TESTS / "test_gpu_compile.py"}):
        command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-c", "/dev/null", "-p", "no:cacheprovider"]
        if scale.dtype == torch.float32:
            command += ["-k", "same_bits or torch_draws or the_gate"]  # a few of each, for the interpreter is slow
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines() or [done.stderr[-200:]]
        failed = re.findall(r"^(?:FAILED|ERROR) \S*?(\w+\S*)(?: - .*)?$", done.stdout, re.MULTILINE)
        tell(path.stem, lines[-1], ", ".join(failed[:5]))
