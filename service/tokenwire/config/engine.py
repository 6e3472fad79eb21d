"""Options of the engine."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_not_negative, check_positive, check_size, parse_size


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How the engine works."""

    kv_memory: Annotated[str | None, Parameter(validator=check_size)] = None
    """Memory of the key-value cache, such as `2GiB` or `512MiB`; default: a share of what is free."""

    max_context: Annotated[int | None, Parameter(validator=check_positive)] = None
    """Most tokens of prompt and answer together; default: the model's own limit."""

    max_running: Annotated[int, Parameter(validator=check_positive)] = 64
    """Most sequences in one engine step."""

    max_step_tokens: Annotated[int, Parameter(validator=check_positive)] = 512
    """Token budget of an engine step, prefill and decode together; at least `max_running` + `block_size`."""

    block_size: Annotated[int, Parameter(validator=check_positive)] = 16
    """Tokens in one block of the key-value cache."""

    threads: Annotated[int | None, Parameter(validator=check_positive)] = None
    """CPU threads of the forward pass; default: all cores."""

    tensor_parallel: Annotated[int, Parameter(validator=check_positive)] = 1
    """Devices that share the model, a process for each; docs/tensor-parallel.md says which models can."""

    deterministic: bool = False
    """The same request and seed give the same bytes, alone or among others, after a preemption and after a restart.
    Slower; docs/determinism.md says what is promised."""

    speculation: bool = True
    """Guess the next tokens from the text so far and from grammars, and check several in one step where that pays.
    The answers are the same."""

    watchdog_s: Annotated[float, Parameter(validator=check_not_negative)] = 60.0
    """Seconds without a sign of life after which an engine that has work is killed and started again; the time of four
    of its longest steps is added. 0: never."""

    @property
    def kv_memory_bytes(self) -> int | None:
        """`kv_memory` in bytes."""
        return None if self.kv_memory is None else parse_size(self.kv_memory)
