"""Choosing the device and the number type, and keeping libraries quiet."""

import os

import torch
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from tokenwire.engine.protocol import EngineStartError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` takes a GPU where there is one. Raises `EngineStartError`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineStartError(f"{name!r} is not a device; give `auto`, `cpu`, `cuda` or `cuda:N`") from None
    if device.type not in ("cpu", "cuda"):
        raise EngineStartError(f"device {name!r} is not supported; give `auto`, `cpu`, `cuda` or `cuda:N`")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineStartError(f"there is no device {name!r}; torch sees {torch.cuda.device_count()} CUDA devices")
    return device


def requested_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """The number type of that name; `auto` is float32 on a CPU and None, the checkpoint's own, on a GPU.

    Raises `EngineStartError`.
    """
    if name == "auto":
        return torch.float32 if device.type == "cpu" else None
    if name not in _DTYPES:
        raise EngineStartError(f"{name!r} is not a number type; give `auto` or one of {', '.join(_DTYPES)}")
    return _DTYPES[name]


def checkpoint_dtype(config: PreTrainedConfig) -> torch.dtype:
    """The number type that a checkpoint declares; bfloat16 where it declares none that is served."""
    declared = config.dtype
    return declared if declared in _DTYPES.values() else torch.bfloat16


def make_deterministic() -> None:
    """Ask the libraries of a GPU for equal results of equal calls. Before CUDA starts; nothing changes on a CPU."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # one workspace a stream, by cuBLAS' notes on reproducibility
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def quiet_libraries() -> None:
    """Errors only, no progress bars: the engine reports its own progress."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
