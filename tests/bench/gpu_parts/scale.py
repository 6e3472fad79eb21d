"""Sizes of the GPU's bench, and how its parts tell their results."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Scale:
    """What is measured."""

    config: Mapping[str, Any]
    """Of the Llama that the passes are measured on; random weights."""
    service_config: Mapping[str, Any]
    """Of the one that is served."""
    dtype: torch.dtype
    batches: tuple[int, ...]
    context: int
    prompt: int
    steps: int
    """Of a measurement, behind as many as warm up and capture."""
    requests: int
    """Of the offline workload, all at once."""
    request_prompt: int
    request_tokens: int
    streams: int
    stream_tokens: int
    block_size: int = 16


_LLAMA_3 = {"vocab_size": 128256, "rope_theta": 5e5, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5}
FULL = Scale(
    config={
        **_LLAMA_3,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    service_config={
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    dtype=torch.bfloat16,
    batches=(1, 8, 32, 64, 128, 256),
    context=1024,
    prompt=2048,
    steps=20,
    requests=256,
    request_prompt=256,
    request_tokens=128,
    streams=64,
    stream_tokens=128,
)
_TINY_SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
TINY = Scale(
    config={**_TINY_SHAPE, "vocab_size": 512},
    service_config=_TINY_SHAPE,
    dtype=torch.float32,
    batches=(1, 3),
    context=40,
    prompt=20,
    steps=2,
    requests=3,
    request_prompt=9,
    request_tokens=3,
    streams=4,
    stream_tokens=5,
)


def tell(what: str, value: str, beside: str = "") -> None:
    """Print a row of the table at once."""
    print(json.dumps({"what": what, "value": value, "beside": beside}), flush=True)


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], *, repeats: int, warm_up: int = 3) -> float:
    """Median time of a call, the device's work included; each is waited for."""
    times = []
    for number in range(warm_up + repeats):
        synchronize()
        start = time.perf_counter()
        call()
        synchronize()
        if number >= warm_up:
            times.append(time.perf_counter() - start)
    return median(times)


def device_seconds(call: Callable[[], object], *, repeats: int, warm_up: int = 3) -> float:
    """Mean time of a call on the device, launched in a row: for what is shorter than a wait."""
    for _ in range(warm_up):
        call()
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    synchronize()
    return (time.perf_counter() - start) / repeats


def copy_bandwidth(scale: Scale) -> float:
    """Bytes per second of a copy on the device, those read and those written."""
    size = (2 << 30) if scale.dtype == torch.bfloat16 else (1 << 20)
    source = torch.ones(size, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * size / device_seconds(lambda: target.copy_(source), repeats=10)
