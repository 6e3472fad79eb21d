"""The metrics that are read when they are asked for: what the service and its engine say of their load."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tokenwire.chat.load import ServiceLoad
from tokenwire.v1.operations_pb2 import ServerState

_GAUGES: tuple[tuple[str, str, Callable[[ServiceLoad], float | None]], ...] = (
    ("num_requests_running", "Choices that are generated.", lambda load: load.running_choices),
    ("num_requests_waiting", "Choices that wait for their turn.", lambda load: load.waiting_choices),
    ("max_queued_choices", "Most choices that may wait or run at once.", lambda load: load.max_queued_choices),
    ("queued_tokens", "Tokens, expected ones too, of all that waits or runs.", lambda load: load.queued_tokens),
    ("max_queued_tokens", "Most of them.", lambda load: load.max_queued_tokens),
    (
        "estimated_wait_seconds",
        "Until the generation of a request that comes now begins; absent without an estimate.",
        lambda load: load.estimated_wait_s,
    ),
    (
        "kv_cache_usage_perc",
        "Share of the key-value cache that live sequences hold; 1 is all.",
        lambda load: load.kv_cache_usage,
    ),
    ("live_completions", "Completions that have not ended.", lambda load: load.live_completions),
    (
        "retained_completions",
        "Ended completions whose events are kept for readers.",
        lambda load: load.retained_completions,
    ),
    ("retained_bytes", "Bytes of the events that are kept.", lambda load: load.retained_bytes),
    ("stored_completions", "Completions that are kept for GetChatCompletion.", lambda load: load.stored_completions),
)

_COUNTERS: tuple[tuple[str, str, Callable[[ServiceLoad], float]], ...] = (
    (
        "num_preemptions",
        "Sequences that gave their cache back and were computed again.",
        lambda load: load.engine.preemptions,
    ),
    ("spec_decode_num_draft_tokens", "Tokens that were guessed.", lambda load: load.engine.drafted_tokens),
    ("spec_decode_num_accepted_tokens", "Guessed tokens that were right.", lambda load: load.engine.accepted_tokens),
    ("engine_steps", "Steps of the engine.", lambda load: load.engine.step),
    ("engine_restarts", "Restarts of the engine since the server was started.", lambda load: load.engine_restarts),
)


class LoadCollector(Collector):
    """Reads the load once a scrape. What the engine counts begins at 0 again when it is restarted."""

    def __init__(self, load: Callable[[], ServiceLoad], model: str) -> None:
        self._load = load
        self._model = model

    def collect(self) -> Iterator[Metric]:
        """The families, with their samples."""
        load = self._load()
        for name, description, read in _GAUGES:
            gauge = GaugeMetricFamily(f"tokenwire_{name}", description, labels=("model_name",))
            if (value := read(load)) is not None:
                gauge.add_metric((self._model,), value)
            yield gauge
        for name, description, read_count in _COUNTERS:
            counter = CounterMetricFamily(f"tokenwire_{name}", description, labels=("model_name",))
            counter.add_metric((self._model,), read_count(load))
            yield counter
        yield self._state(load)

    def _state(self, load: ServiceLoad) -> Metric:
        family = GaugeMetricFamily(
            "tokenwire_server_state", "1 for the state that the server is in, else 0.", labels=("model_name", "state")
        )
        for state in ServerState.values()[1:]:
            name = ServerState.Name(state).removeprefix("SERVER_STATE_").lower()
            family.add_metric((self._model, name), float(state == load.state))
        return family
