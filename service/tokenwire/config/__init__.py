"""The options of the server, each declared once; the command line derives flags, environment and YAML keys."""

from tokenwire.config.checks import parse_size
from tokenwire.config.engine import EngineConfig
from tokenwire.config.gateway import GatewayConfig
from tokenwire.config.log import LogConfig
from tokenwire.config.model import ModelOptions
from tokenwire.config.observability import ObservabilityConfig
from tokenwire.config.queue import QueueConfig
from tokenwire.config.security import SecurityConfig
from tokenwire.config.serve import ServeConfig
from tokenwire.config.server import ServerConfig
from tokenwire.config.streams import StreamConfig

__all__ = [
    "EngineConfig",
    "GatewayConfig",
    "LogConfig",
    "ModelOptions",
    "ObservabilityConfig",
    "QueueConfig",
    "SecurityConfig",
    "ServeConfig",
    "ServerConfig",
    "StreamConfig",
    "parse_size",
]
