"""What is counted and measured of calls and completions."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tokenwire.chat.call import Call
from tokenwire.chat.load import ServiceLoad
from tokenwire.chat.observer import CompletionRecord
from tokenwire.metrics.calls import CallMetrics
from tokenwire.metrics.exposition import WithoutKeys, exposition
from tokenwire.metrics.histogram import WeightedHistogram
from tokenwire.metrics.load import LoadCollector

_TOKEN_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
    80.0,
)
_WAIT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640)
_REQUEST_S = (0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920)
_TOKENS = tuple(digit * 10**power for power in range(6) for digit in (1, 2, 5))

MAX_KEYS = 200
"""Most API keys that have series of their own; the others share one, `other`."""


class Metrics:
    """All metrics of one server, in a registry of its own. Implements `CallObserver` and `CompletionObserver`."""

    def __init__(self, *, model: str, load: Callable[[], ServiceLoad]) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self._keys: set[str] = set()
        self._tokens = _TokenCollector(model)
        self._first_token_s = self._histogram("time_to_first_token_seconds", "Acceptance to first token.", _WAIT_S)
        self._total_s = self._histogram("e2e_request_latency_seconds", "Acceptance to end.", _REQUEST_S)
        self._queue_s = self._histogram("request_queue_time_seconds", "Acceptance to first engine step.", _WAIT_S)
        self._prefill_s = self._histogram("request_prefill_time_seconds", "First engine step to first token.", _WAIT_S)
        self._decode_s = self._histogram("request_decode_time_seconds", "First token to last token.", _REQUEST_S)
        self._inference_s = self._histogram(
            "request_inference_time_seconds", "First engine step to last token.", _REQUEST_S
        )
        self._request_prompt_tokens = self._histogram(
            "request_prompt_tokens", "Prompt tokens of a completion.", _TOKENS
        )
        self._request_generation_tokens = self._histogram(
            "request_generation_tokens", "Generated tokens of a completion, all choices.", _TOKENS
        )
        self._request_max_tokens = self._histogram(
            "request_params_max_tokens", "`max_completion_tokens` in force, of a choice.", _TOKENS
        )
        self._request_n = self._histogram("request_params_n", "Choices asked.", (1, 2, 5, 10, 20, 50, 100))
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of ended completions.")
        self._cache_queries = self._counter("prefix_cache_queries", "Prompt tokens looked for in the prefix cache.")
        self._cache_hits = self._counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.")
        self._wasted_tokens = self._counter("wasted_tokens", "Tokens that were generated and never delivered.")
        self._resumed = self._counter("streams_resumed", "Readers that came back to a completion.")
        self._finished = self._labelled("request_success", "Finished choices by reason.", "finished_reason")
        self._ended = self._labelled("completions", "Ended completions by outcome.", "outcome")
        self._key_tokens = self._labelled(
            "key_tokens", "Tokens by API key; `kind` is prompt or generation.", "key", "kind"
        )
        self._calls = CallMetrics(self.registry, model=model)
        self.registry.register(self._tokens)
        self.registry.register(LoadCollector(load, model))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All samples as Prometheus reads them, and their content type. `accept` is that header of the request."""
        return exposition(self.registry, accept)

    def render_without_keys(self, accept: str = "") -> tuple[bytes, str]:
        """The same without the names of API keys, which are none of their holders' business."""
        return exposition(WithoutKeys(self.registry), accept)

    def called(self, call: Call) -> None:
        """As `CallObserver.called`."""
        self._calls.called(call)

    def generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """As `CompletionObserver.generated`."""
        self._tokens.generated(num_tokens, seconds_each)

    def resumed(self) -> None:
        """As `CompletionObserver.resumed`."""
        self._resumed.inc()

    def ended(self, record: CompletionRecord) -> None:
        """As `CompletionObserver.ended`."""
        usage = record.usage
        self._ended.labels(self._model, record.outcome).inc()
        for reason in record.finish_reasons:
            self._finished.labels(self._model, reason).inc()
        self._wasted_tokens.inc(usage.wasted_tokens)
        self._request_max_tokens.observe(record.max_tokens)
        self._request_n.observe(record.num_choices)
        self._total_s.observe(record.ended_s - record.accepted_s)
        if record.scheduled_s is not None:
            self._count_tokens(record)
        self._measure(record)

    def _count_tokens(self, record: CompletionRecord) -> None:
        """Of a completion on which the engine has worked."""
        usage = record.usage
        self._prompt_tokens.inc(usage.prompt_tokens)
        self._cache_queries.inc(usage.prompt_tokens)
        self._cache_hits.inc(usage.cached_prompt_tokens)
        self._request_prompt_tokens.observe(usage.prompt_tokens)
        self._request_generation_tokens.observe(usage.completion_tokens)
        if key := self._key_label(record.caller.key_id):
            self._key_tokens.labels(self._model, key, "prompt").inc(usage.prompt_tokens)
            self._key_tokens.labels(self._model, key, "generation").inc(usage.completion_tokens)

    def _measure(self, record: CompletionRecord) -> None:
        """The parts of its time, as far as it came."""
        scheduled_s, first_s, last_s = record.scheduled_s, record.first_token_s, record.last_token_s
        if scheduled_s is None:
            return
        self._queue_s.observe(scheduled_s - record.accepted_s)
        if first_s is None or last_s is None:
            return
        self._first_token_s.observe(first_s - record.accepted_s)
        self._prefill_s.observe(first_s - scheduled_s)
        self._decode_s.observe(last_s - first_s)
        self._inference_s.observe(last_s - scheduled_s)

    def _key_label(self, key_id: str) -> str:
        if key_id and key_id not in self._keys:
            if len(self._keys) >= MAX_KEYS:
                return "other"
            self._keys.add(key_id)
        return key_id

    def _histogram(self, name: str, description: str, buckets: Sequence[float]) -> Histogram:
        histogram = Histogram(
            f"tokenwire_{name}", description, ("model_name",), buckets=buckets, registry=self.registry
        )
        return histogram.labels(self._model)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"tokenwire_{name}", description, ("model_name",), registry=self.registry).labels(self._model)

    def _labelled(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"tokenwire_{name}", description, ("model_name", *labels), registry=self.registry)


class _TokenCollector(Collector):
    """Generated tokens and their latency: with every token, so without the locks of the library's metrics."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._num_tokens = 0
        self._seconds = WeightedHistogram(_TOKEN_S)

    def generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """As `CompletionObserver.generated`."""
        self._num_tokens += num_tokens
        if seconds_each is not None:
            self._seconds.observe(seconds_each, num_tokens)

    def collect(self) -> Iterator[Metric]:
        """The two families."""
        tokens = CounterMetricFamily(
            "tokenwire_generation_tokens", "Tokens that were generated.", labels=("model_name",)
        )
        tokens.add_metric((self._model,), self._num_tokens)
        yield tokens
        latency = HistogramMetricFamily(
            "tokenwire_inter_token_latency_seconds",
            "Time from token to token of a choice; tokens that come together share it.",
            labels=("model_name",),
        )
        self._seconds.add_to(latency, (self._model,))
        yield latency
