"""Options of the queue before the engine."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_positive


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """How much may wait or run at once; more is refused with UNAVAILABLE. One caller alone gets 16/17 of it."""

    max_queue: Annotated[int, Parameter(validator=check_positive)] = 1024
    """Most choices."""

    max_queue_tokens: Annotated[int, Parameter(validator=check_positive)] = 2_000_000
    """Most tokens, of prompts and of answers that are expected."""
