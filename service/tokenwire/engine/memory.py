"""What running out of memory looks like, and what can be given back."""

import gc

import torch

_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""In the messages of CUDA, of torch's allocator on a CPU, and of cuBLAS."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a step may fit if there is less of it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_memory() -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
