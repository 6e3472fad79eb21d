"""Options of what operators see: metrics and traces."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_port


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilityConfig:
    """Where metrics and traces go."""

    metrics_port: Annotated[int | None, Parameter(validator=check_port)] = None
    """Port for Prometheus, at /metrics; 0 takes a free one; default: no metrics."""

    metrics_host: str = "127.0.0.1"
    """Address that it listens on. There is no key: keep it inside."""

    otlp_endpoint: str | None = None
    """Collector that traces are sent to over gRPC, such as `http://localhost:4317`; needs `tokenwire[tracing]`;
    default: no traces."""
