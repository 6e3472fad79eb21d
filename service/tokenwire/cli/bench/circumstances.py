"""On which machine, with which versions and by which command figures came about."""

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import tokenwire


def circumstances(command: Sequence[str]) -> Mapping[str, object]:
    """Of this machine, now; keys of API keys are left out of the command."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(_without_secrets(command)),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "tokenwire": tokenwire.__version__,
        "commit": _commit(),
    }


def _without_secrets(command: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for word in command:
        name, equals, _ = word.partition("=")
        if kept and kept[-1] == "--api-key":
            kept.append("HIDDEN")
        else:
            kept.append(f"{name}=HIDDEN" if equals and name == "--api-key" else word)
    return kept


def _processor() -> str:
    """`platform.processor()` says nothing on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """Of the checkout that this code runs from; None if it is installed from a wheel, or git is not there."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
