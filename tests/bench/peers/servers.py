"""How each server is started on this machine's CPU: the same model, all cores, room for as many streams."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bench.peers.environments import llama_server, vllm_python
from bench.peers.residents import Launch, free_port
from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.targets import Address
from tokenwire.demo import DEMO_MODEL_NAME, fetch_demo_model
from tokenwire.engine.model.checkpoint import resolve_checkpoint

_SLOTS = 32
_SLOT_TOKENS = 1024
"""llama.cpp divides its context among its slots; the others share theirs."""


def launches(environments: Path) -> Mapping[str, Callable[[], Launch]]:
    """Of all servers, by name. Calling one makes what it needs in the folder."""
    gguf = fetch_demo_model(default_cache_dir())
    return {
        "tokenwire": lambda: _tokenwire("tokenwire", gguf),
        "tokenwire-int8": lambda: _tokenwire("tokenwire-int8", gguf, "--weights", "int8"),
        "tokenwire-fp32": lambda: _tokenwire("tokenwire-fp32", gguf, "--weights", "fp32"),
        "tokenwire-plain": lambda: _tokenwire("tokenwire-plain", gguf, "--no-speculation"),
        "llama.cpp": lambda: _llama_cpp(gguf, llama_server(environments)),
        "vllm": lambda: _vllm(gguf, vllm_python(environments)),
    }


def _tokenwire(name: str, gguf: Path, *options: str) -> Launch:
    """Measured over gRPC."""
    grpc_port, http_port = free_port(), free_port()
    command = [sys.executable, "-c", "from tokenwire.cli.app import main; main()", "serve", "--model", str(gguf)]
    command += ["--served-model-name", DEMO_MODEL_NAME, "--port", str(grpc_port), "--http-port", str(http_port)]
    return Launch(
        address=Address(name, "grpc", f"127.0.0.1:{grpc_port}"),
        url=f"http://127.0.0.1:{http_port}/v1",
        command=[*command, *options],
    )


def _llama_cpp(gguf: Path, server: Path) -> Launch:
    """The file as it is, a slot for every stream, continuous batching."""
    address = Address("llama.cpp", "http", f"127.0.0.1:{free_port()}/v1")
    threads = str(os.cpu_count())
    command = [str(server), "-m", str(gguf), *_listen(address), "-t", threads, "-tb", threads]
    command += ["-np", str(_SLOTS), "-cb", "-c", str(_SLOTS * _SLOT_TOKENS)]
    return Launch(address=address, url=str(address), command=command)


def _vllm(gguf: Path, python: Path) -> Launch:
    """The file's weights as float32."""
    address = Address("vllm", "http", f"127.0.0.1:{free_port()}/v1")
    cache_dir = default_cache_dir()
    folder = resolve_checkpoint(
        str(gguf), gguf_dtype=torch.float32, cache_dir=cache_dir, on_progress=lambda progress: None
    )
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *_listen(address)]
    return Launch(
        address=address,
        url=str(address),
        command=[*command, "--dtype", "float32", "--disable-uvicorn-access-log"],
        environment={
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        },
    )


def _listen(address: Address) -> list[str]:
    host, _, port = address.location.removesuffix("/v1").partition(":")
    return ["--host", host, "--port", port]
