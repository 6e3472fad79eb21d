"""The options of the server, each declared once. The command line derives flags, environment and YAML keys from them."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is served, and how."""

    model: str
    """Folder, GGUF file, or Hugging Face hub id of a decoder-only model."""

    served_model_name: str | None = None
    """Name that requests give; default: the hub id, or the folder's or file's name."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N`; `auto` takes a GPU where there is one."""

    dtype: str = "auto"
    """`float32`, `bfloat16`, `float16`; `auto` is float32 on a CPU and the checkpoint's own on a GPU."""

    chat_template: Path | None = None
    """File with a Jinja chat template to use instead of the model's own."""

    cache_dir: Path | None = None
    """Folder for converted checkpoints; default: `tokenwire` in the user's cache folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How the engine works."""

    kv_memory: str | None = None
    """Memory of the key-value cache, such as `2GiB` or `512MiB`; default: a share of what is free."""

    max_context: int | None = None
    """Most tokens of prompt and answer together; default: the model's own limit."""

    max_running: int = 64
    """Most sequences in one engine step."""

    max_step_tokens: int = 512
    """Token budget of an engine step, prefill and decode together."""

    block_size: int = 16
    """Tokens in one block of the key-value cache."""

    threads: int | None = None
    """CPU threads of the forward pass; default: all cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How clients reach the server."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and REST."""

    port: int = 50051
    """gRPC port; 0 takes a free one."""

    http_port: int | None = None
    """REST port; 0 takes a free one; default: no REST."""

    max_message_bytes: int = 32 * 1024 * 1024
    """Largest request message or body."""

    max_queue: int = 1024
    """Most choices that may wait or run at once; more are refused with UNAVAILABLE."""

    drain_grace_s: float = 30.0
    """Seconds that running completions get to finish after SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, to standard error."""

    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    log_format: str = "text"
    """`text` for people, `json` for machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """All options of `tokenwire serve`."""

    model: ModelOptions
    engine: EngineConfig = field(default_factory=EngineConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    log: LogConfig = field(default_factory=LogConfig)
