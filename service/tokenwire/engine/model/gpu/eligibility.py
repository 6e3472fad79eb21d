"""Whether a model can run on the pass of a CUDA device. Imports no Triton, for a CPU machine may lack it."""

from importlib.util import find_spec

import torch
from transformers import PreTrainedConfig

from tokenwire.engine.model.lean import has_right_shape


def can_decode(config: PreTrainedConfig, device: torch.device) -> bool:
    """Whether the pass is worth a try."""
    return device.type == "cuda" and find_spec("triton") is not None and has_right_shape(config)
