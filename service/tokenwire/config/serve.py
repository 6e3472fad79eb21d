"""All options of `tokenwire serve` together."""

from dataclasses import dataclass, field

from tokenwire.config.engine import EngineConfig
from tokenwire.config.log import LogConfig
from tokenwire.config.model import ModelOptions
from tokenwire.config.observability import ObservabilityConfig
from tokenwire.config.queue import QueueConfig
from tokenwire.config.security import SecurityConfig
from tokenwire.config.server import ServerConfig
from tokenwire.config.streams import StreamConfig
from tokenwire.engine.protocol import EngineOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """All options of `tokenwire serve`."""

    model: ModelOptions
    engine: EngineConfig = field(default_factory=EngineConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    queue: QueueConfig = field(default_factory=QueueConfig)
    streams: StreamConfig = field(default_factory=StreamConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    observability: ObservabilityConfig = field(default_factory=ObservabilityConfig)
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
            log_level=self.log.log_level,
            log_format=self.log.log_format,
        )
