"""Whether a model can run on the pass of a CUDA device. Imports no Triton, for a CPU machine may lack it."""

from importlib.util import find_spec

import torch
from transformers import PreTrainedConfig

from tokenwire.engine.model.lean import is_llama_shaped

_FIXED_ROTATIONS = {"default", "linear", "llama3", "yarn"}
"""Whose frequencies do not depend on the length of the text: they can be tabulated."""


def can_decode(config: PreTrainedConfig, device: torch.device) -> bool:
    """Whether the pass is worth a try."""
    return device.type == "cuda" and find_spec("triton") is not None and has_right_shape(config)


def has_right_shape(config: PreTrainedConfig) -> bool:
    """Whether it is a Llama-shaped decoder whose rotation is of whole heads and can be tabulated."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        is_llama_shaped(config)
        and rope.get("rope_type", "default") in _FIXED_ROTATIONS
        and rope.get("partial_rotary_factor") in (None, 1.0)
    )
