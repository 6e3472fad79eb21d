"""Builds and keeps the C library of the CPU's forward pass, on the machine that runs it."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

logger = logging.getLogger("tokenwire.engine")

_COMPILE_TIMEOUT_S = 120


def build_library(
    name: str, sources: Sequence[str], flags: Sequence[str], *, folder: Path, without: str
) -> ctypes.CDLL | None:
    """Compile C sources of this package into `folder`, or find them compiled there; None where that fails.

    `sources` are those to compile and the headers that they include. `without` tells the log what is the worse for it.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]  # such as `ccache gcc`
    if not shutil.which(compiler[0]):
        logger.info("no C compiler: %s", without)
        return None
    texts = {source: resources.files(__package__).joinpath(source).read_bytes() for source in sources}
    identity = "\0".join((*compiler, _processor(), *flags)).encode() + b"\0".join(texts.values())
    library = folder / f"{name}-{hashlib.sha256(identity).hexdigest()[:16]}.so"
    try:
        if not library.exists():
            _compile(compiler, flags, texts, library)
        return ctypes.CDLL(str(library))
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        logger.warning("%s: the C sources do not compile: %s", without, reason)
        return None


def _compile(compiler: Sequence[str], flags: Sequence[str], texts: dict[str, bytes], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".building-") as name:
        folder = Path(name)
        for source, text in texts.items():
            (folder / source).write_bytes(text)
        command = [*compiler, *flags, *(source for source in texts if source.endswith(".c")), "-o", library.name, "-lm"]
        subprocess.run(command, cwd=folder, text=True, check=True, capture_output=True, timeout=_COMPILE_TIMEOUT_S)
        os.replace(folder / library.name, library)


def _processor() -> str:
    """What `-march=native` depends on, for a cache folder that several machines share."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
