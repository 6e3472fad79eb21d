"""Moving small host data to the device without waiting for it."""

from collections.abc import Sequence

import torch
from torch import Tensor


def stage(values: Sequence[object], *, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """`values` as a tensor on the device, as `torch.tensor` has it.

    For a GPU through pinned memory: the copy takes its place in the stream, and torch keeps the memory until then.
    """
    if device.type != "cuda":
        return torch.tensor(values, dtype=dtype, device=device)
    return torch.tensor(values, dtype=dtype, pin_memory=True).to(device, non_blocking=True)
