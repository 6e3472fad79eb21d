"""The options of the server, each declared once; the command line derives flags, environment and YAML keys."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tokenwire.engine.protocol import EngineOptions

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})")


def parse_size(text: str) -> int:
    """The bytes that a size such as `512MiB` or `1.5GiB` names. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"a size is a number and one of {', '.join(_UNITS)}, such as 2GiB; got {text!r}")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size == 0:
        raise ValueError(f"a size must be at least 1B; got {text!r}")
    return size


def _size(_: object, value: str | None) -> None:
    if value is not None:
        parse_size(value)


def _positive(_: object, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ValueError(f"must be above 0; got {value}")


def _not_negative(_: object, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"must be a number of at least 0; got {value}")


def _message_size(_: object, value: int) -> None:
    if not 0 < value < 1 << 31:  # gRPC keeps it in an int32
        raise ValueError(f"must be in [1, {(1 << 31) - 1}]; got {value}")


def _port(_: object, value: int | None) -> None:
    if value is not None and not 0 <= value <= 65535:
        raise ValueError(f"must be in [0, 65535]; got {value}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is served, and how."""

    model: str
    """Folder, GGUF file, or Hugging Face hub id of a decoder-only model."""

    served_model_name: str | None = None
    """Name that requests give; default: the hub id, or the folder's or file's name."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N`; `auto` takes a GPU where there is one."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the weights; `auto` is float32 on a CPU and the checkpoint's own on a GPU."""

    weights: Literal["auto", "fp32", "fp16", "int8", "int4"] = "auto"
    """How a CPU stores the weights. `fp32` is exact. `int8` and `int4` have a scale for every 32 weights and round the
    inputs of products to 16 bits. `auto` takes the 4 bits of a checkpoint that had no more, and else 8."""

    chat_template: Path | None = None
    """File with a Jinja chat template to use instead of the model's own."""

    tool_syntax: Literal["auto", "hermes", "llama3", "mistral", "mistral-spaced", "mistral-args"] = "auto"
    """How the model writes tool calls; `auto` tells by its chat template."""

    cache_dir: Path | None = None
    """Folder for converted checkpoints; default: `tokenwire` in the user's cache folder."""

    @property
    def name(self) -> str:
        """The name that requests give."""
        if self.served_model_name is not None:
            return self.served_model_name
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path.resolve().name
        return path.stem if path.is_file() else self.model


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How the engine works."""

    kv_memory: Annotated[str | None, Parameter(validator=_size)] = None
    """Memory of the key-value cache, such as `2GiB` or `512MiB`; default: a share of what is free."""

    max_context: Annotated[int | None, Parameter(validator=_positive)] = None
    """Most tokens of prompt and answer together; default: the model's own limit."""

    max_running: Annotated[int, Parameter(validator=_positive)] = 64
    """Most sequences in one engine step."""

    max_step_tokens: Annotated[int, Parameter(validator=_positive)] = 512
    """Token budget of an engine step, prefill and decode together; at least `max_running` + `block_size`."""

    block_size: Annotated[int, Parameter(validator=_positive)] = 16
    """Tokens in one block of the key-value cache."""

    threads: Annotated[int | None, Parameter(validator=_positive)] = None
    """CPU threads of the forward pass; default: all cores."""

    tensor_parallel: Annotated[int, Parameter(validator=_positive)] = 1
    """Devices that share the model, a process for each; docs/tensor-parallel.md says which models can."""

    deterministic: bool = False
    """The same request and seed give the same bytes, alone or among others, after a preemption and after a restart.
    Slower; docs/determinism.md says what is promised."""

    speculation: bool = True
    """Guess the next tokens from the text so far and from grammars, and check several in one step where that pays.
    The answers are the same."""

    @property
    def kv_memory_bytes(self) -> int | None:
        """`kv_memory` in bytes."""
        return None if self.kv_memory is None else parse_size(self.kv_memory)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How clients reach the server."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and REST."""

    port: Annotated[int, Parameter(validator=_port)] = 50051
    """gRPC port; 0 takes a free one."""

    http_port: Annotated[int | None, Parameter(validator=_port)] = None
    """REST port; 0 takes a free one; default: no REST."""

    max_message_bytes: Annotated[int, Parameter(validator=_message_size)] = 32 * 1024 * 1024
    """Largest request message or body."""

    max_queue: Annotated[int, Parameter(validator=_positive)] = 1024
    """Most choices that may wait or run at once; more are refused with UNAVAILABLE."""

    max_stored: Annotated[int, Parameter(validator=_positive)] = 1000
    """Most completions that are kept for GetChatCompletion; the oldest goes first."""

    stored_for_s: Annotated[float, Parameter(validator=_positive)] = 3600.0
    """Seconds for which they are kept."""

    drain_grace_s: Annotated[float, Parameter(validator=_not_negative)] = 30.0
    """Seconds that running completions get to finish after SIGTERM."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, to standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""

    log_format: Literal["text", "json"] = "text"
    """`text` for people, `json` for machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """All options of `tokenwire serve`."""

    model: ModelOptions
    engine: EngineConfig = field(default_factory=EngineConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def engine_options(self) -> EngineOptions:
        """What the engine process needs of them."""
        return EngineOptions(
            model=self.model.model,
            device=self.model.device,
            dtype=self.model.dtype,
            weights=self.model.weights,
            kv_memory_bytes=self.engine.kv_memory_bytes,
            max_context=self.engine.max_context,
            max_running=self.engine.max_running,
            max_step_tokens=self.engine.max_step_tokens,
            block_size=self.engine.block_size,
            threads=self.engine.threads,
            tensor_parallel=self.engine.tensor_parallel,
            cache_dir=self.model.cache_dir and self.model.cache_dir.expanduser(),
            deterministic=self.engine.deterministic,
            speculation=self.engine.speculation,
        )
