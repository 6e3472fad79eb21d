"""Runs the native pass's sweep built for this processor, for ARM in qemu, and under sanitizers: all print the same.

    python tests/bench/native_processors.py

It needs Linux on x86 with gcc, aarch64-linux-gnu-gcc (with its C library) and qemu-aarch64.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import tokenwire.engine.model.native as native_package

SOURCES = Path(native_package.__file__).parent
SWEEP = Path(__file__).parent / "native_parts" / "sweep.c"
FILES = [SWEEP, *(SOURCES / name for name in ("attention.c", "decoder.c", "linear.c", "team.c"))]
FLAGS = ["-std=gnu11", "-pthread", "-ffp-contract=off", "-I", str(SOURCES)]
SANITIZE = ["gcc", "-march=native", "-O1", "-g", "-fno-sanitize-recover=all"]
BUILDS = {
    "this processor": (["gcc", "-O3", "-march=native"], []),
    "ARM": (["aarch64-linux-gnu-gcc", "-O3", "-static"], ["qemu-aarch64"]),
    "addresses and undefined behaviour": ([*SANITIZE, "-fsanitize=address,undefined"], []),
    "threads": ([*SANITIZE, "-fsanitize=thread"], []),
}
"""Compiler and what runs its program."""
TIMEOUT_S = 300


def main() -> int:
    """0 where all builds end well with the same lines."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (compiler, runner) in BUILDS.items():
            program = Path(folder) / name.replace(" ", "-")
            subprocess.run(
                [*compiler, *FLAGS, *map(str, FILES), "-o", str(program), "-lm"], check=True, timeout=TIMEOUT_S
            )
            run = subprocess.run([*runner, str(program)], check=True, timeout=TIMEOUT_S, capture_output=True, text=True)
            results[name] = run.stdout.splitlines()
    expected = results["this processor"]
    for name, lines in results.items():
        same = sum(line == other for line, other in zip(lines, expected, strict=True))
        print(f"{name}: {same} of {len(expected)} lines are the same")
    return int(any(lines != expected for lines in results.values()))


if __name__ == "__main__":
    sys.exit(main())
