"""What is counted and measured of calls, in a server and in a gateway."""

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

from tokenwire import __version__
from tokenwire.chat.call import Call

_CALL_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class CallMetrics:
    """Implements `CallObserver`. The process and its version are measured, too."""

    def __init__(self, registry: CollectorRegistry, *, model: str = "") -> None:
        """`model` is empty in a gateway, which serves whatever is behind it."""
        self._model = model
        labels = ("model_name", "method", "code")
        self._rpcs = Counter("tokenwire_rpcs", "RPCs by method and status code.", labels, registry=registry)
        self._http = Counter("tokenwire_http_requests", "HTTP requests by route and status.", labels, registry=registry)
        self._http_s = Histogram(
            "tokenwire_http_request_duration_seconds",
            "HTTP requests by route: headers to the last byte of the answer.",
            ("model_name", "method"),
            buckets=_CALL_S,
            registry=registry,
        )
        self._errors = Counter(
            "tokenwire_errors",
            "Failed calls by the reason in the error table.",
            ("model_name", "reason"),
            registry=registry,
        )
        version = Gauge("tokenwire_build_info", "1, with the version.", ("model_name", "version"), registry=registry)
        version.labels(model, __version__).set(1)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)

    def called(self, call: Call) -> None:
        """As `CallObserver.called`."""
        if call.is_http:
            self._http.labels(self._model, call.method, call.code).inc()
            self._http_s.labels(self._model, call.method).observe(call.seconds)
        else:
            self._rpcs.labels(self._model, call.method, call.code).inc()
        if call.reason:
            self._errors.labels(self._model, call.reason).inc()
