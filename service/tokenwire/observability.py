"""What operators see of a server: the access log, metrics on a port of their own, traces."""

from collections.abc import Callable

from tokenwire.access_log import AccessLog
from tokenwire.chat.call import CallObserver
from tokenwire.chat.load import ServiceLoad
from tokenwire.chat.observer import CompletionObserver
from tokenwire.config import ObservabilityConfig
from tokenwire.listen import format_address, listen
from tokenwire.metrics.metrics import Metrics
from tokenwire.rest.metrics import create_metrics_app
from tokenwire.rest.server import RestServer
from tokenwire.tracing import Traces

MAX_METRICS_CONNECTIONS = 64


class Observability:
    """Observers of calls and of completions, and where they show what they saw."""

    def __init__(self, config: ObservabilityConfig, *, model: str, load: Callable[[], ServiceLoad]) -> None:
        """`load` is asked when the metrics are. Raises `TracingError`."""
        self.metrics = Metrics(model=model, load=load)
        self._host, self._port = config.metrics_host, config.metrics_port
        self._traces = None if config.otlp_endpoint is None else Traces.to_collector(config.otlp_endpoint)
        self._server: RestServer | None = None

    @property
    def metrics_address(self) -> str | None:
        """Host and port of the metrics, the real one once started; None without them."""
        return None if self._port is None else format_address(self._host, self._port)

    @property
    def calls(self) -> tuple[CallObserver, ...]:
        """Those to tell of calls."""
        return (AccessLog(), self.metrics)

    @property
    def completions(self) -> tuple[CompletionObserver, ...]:
        """Those to tell of completions."""
        return (self.metrics,) if self._traces is None else (self.metrics, self._traces)

    def start(self) -> None:
        """Serve the metrics, where that is asked. Raises `ListenError`."""
        if self._port is None:
            return
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        app = create_metrics_app(self.metrics.render)
        self._server = RestServer(app, listener, max_connections=MAX_METRICS_CONNECTIONS)
        self._server.start()

    async def stop(self) -> None:
        """Close the port, and send the traces that are left."""
        if self._server is not None:
            await self._server.stop()
        if self._traces is not None:
            await self._traces.stop()
