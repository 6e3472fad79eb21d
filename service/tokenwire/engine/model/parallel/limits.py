"""What tensor parallel cannot do, refused by name before anything is loaded."""

from math import gcd

import torch
from transformers import PreTrainedConfig

from tokenwire.engine.model.architecture import architecture_name
from tokenwire.engine.protocol import EngineOptions, EngineStartError


def check_options(options: EngineOptions) -> None:
    """Raise `EngineStartError` where other options rule it out."""
    if options.deterministic:
        raise EngineStartError(
            "--deterministic does not work with --tensor-parallel: the order in which ranks add up depends on the batch"
        )
    if options.weights not in ("auto", "fp32"):
        raise EngineStartError(
            f"--weights {options.weights} does not work with --tensor-parallel; `auto` is what is left"
        )


def check_devices(size: int, device: torch.device) -> None:
    """Raise `EngineStartError` where there are fewer devices than ranks."""
    if device.type != "cuda":
        return
    first, count = device.index or 0, torch.cuda.device_count()
    if first + size > count:
        raise EngineStartError(
            f"--tensor-parallel {size} from cuda:{first} on needs {first + size} devices; torch sees {count}"
        )


def check_model(size: int, config: PreTrainedConfig) -> None:
    """Raise `EngineStartError` where the model cannot be shared out among that many ranks."""
    name = architecture_name(config)
    if not config.base_model_tp_plan:
        raise EngineStartError(
            f"transformers has no tensor-parallel plan for {name}: serve it with --tensor-parallel 1"
        )
    heads: int = config.num_attention_heads
    kv_heads: int = getattr(config, "num_key_value_heads", None) or heads
    if heads % size or kv_heads % size:
        most = gcd(heads, kv_heads)
        sizes = ", ".join(str(size) for size in range(1, most + 1) if most % size == 0)
        raise EngineStartError(
            f"{name} has {heads} attention heads and {kv_heads} key-value heads, which --tensor-parallel {size} "
            f"does not divide; it can be {sizes}"
        )
