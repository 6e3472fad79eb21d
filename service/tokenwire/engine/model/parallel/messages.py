"""What rank 0 tells the other ranks, and what they answer. Plain data; imports no torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Join:
    """Join the group of ranks."""

    port: int
    """Of the group's store, on the loopback interface."""
    size: int
    """Number of ranks."""
    device: str
    """Rank 0's; the others take those after it."""
    num_threads: int
    """Of each rank, on a CPU."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load the rank's part of a checkpoint, in place of the one before."""

    folder: Path
    dtype: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Put what was loaded on a forward pass."""

    pass_number: int
    """The place of the pass among those that there are for the model."""
    kernel_dir: Path


@dataclass(frozen=True, slots=True)
class Measure:
    """Tell how much memory there is for a cache. Answered by `Memory`."""


@dataclass(frozen=True, slots=True)
class Attach:
    """Allocate the rank's part of the cache."""

    num_blocks: int
    block_size: int


@dataclass(frozen=True, slots=True)
class Span:
    """A `SequenceSpan` without its device."""

    num_queries: int
    num_keys: int
    blocks: tuple[int, ...]
    block_size: int


@dataclass(frozen=True, slots=True)
class Run:
    """Run a forward pass, whose tensors follow as one broadcast. Not answered."""

    num_tokens: int
    num_logit_rows: int
    spans: tuple[Span, ...]


Order = Join | Load | Prepare | Measure | Attach | Run


@dataclass(frozen=True, slots=True)
class Done:
    """The rank has done what it was told."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Answers `Measure`."""

    num_bytes: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The rank cannot do it; `message` is for the operator."""

    message: str


Reply = Done | Memory | Failed
