"""What Prometheus reads of calls, completions and the load."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tokenwire.chat.call import Call
from tokenwire.chat.caller import Caller
from tokenwire.chat.load import Rate, ServiceLoad
from tokenwire.chat.observer import CompletionRecord
from tokenwire.engine.protocol import EngineLoad
from tokenwire.metrics.metrics import MAX_KEYS, Metrics
from tokenwire.v1.chat_pb2 import Usage
from tokenwire.v1.operations_pb2 import ServerState

SERVING = ServerState.SERVER_STATE_SERVING


def make(load: ServiceLoad | None = None) -> Metrics:
    return Metrics(model="m", load=lambda: load or ServiceLoad(state=SERVING))


def record(*, key_id: str = "", **fields: object) -> CompletionRecord:
    """A completion of 10 prompt tokens, 4 of them cached, and 5 generated ones, 1 of them wasted."""
    usage = Usage(prompt_tokens=10, cached_prompt_tokens=4, completion_tokens=5, total_tokens=15, wasted_tokens=1)
    values: dict[str, object] = {
        "outcome": "completed",
        "finish_reasons": ("stop",),
        "scheduled_s": 101.0,
        "first_token_s": 103.0,
        "last_token_s": 107.0,
        **fields,
    }
    return CompletionRecord(
        id="chatcmpl-1",
        model="m",
        caller=Caller(key_id=key_id),
        usage=usage,
        max_tokens=16,
        accepted_s=100.0,
        ended_s=108.0,
        **values,  # type: ignore[arg-type]
    )


def samples(metrics: Metrics) -> dict[str, float]:
    """By name, with the values of the labels other than `model_name`, which come in the order of their names."""
    text = metrics.render()[0].decode()
    return {
        sample.name
        + "".join(f" {value}" for name, value in sample.labels.items() if name != "model_name"): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_load_is_read_when_it_is_asked_for() -> None:
    engine = EngineLoad(step=7, total_blocks=8, free_blocks=6, preemptions=2, drafted_tokens=9, accepted_tokens=5)
    found = samples(
        make(ServiceLoad(state=SERVING, running_choices=3, waiting_choices=4, engine=engine, engine_restarts=1))
    )
    assert found["tokenwire_num_requests_running"] == 3
    assert found["tokenwire_num_requests_waiting"] == 4
    assert found["tokenwire_kv_cache_usage_perc"] == 0.25
    assert found["tokenwire_num_preemptions_total"] == 2
    assert found["tokenwire_spec_decode_num_accepted_tokens_total"] == 5
    assert found["tokenwire_engine_restarts_total"] == 1
    assert found["tokenwire_server_state serving"] == 1
    assert found["tokenwire_server_state draining"] == 0


def test_an_unknown_wait_has_no_sample() -> None:
    assert "tokenwire_estimated_wait_seconds" not in samples(make())
    assert samples(make(ServiceLoad(state=SERVING, estimated_wait_s=2.5)))["tokenwire_estimated_wait_seconds"] == 2.5


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("time_to_first_token", 3),
        ("e2e_request_latency", 8),
        ("request_queue_time", 1),
        ("request_prefill_time", 2),
        ("request_decode_time", 4),
        ("request_inference_time", 6),
    ],
)
def test_the_parts_of_a_completion_are_measured(name: str, seconds: float) -> None:
    metrics = make()
    metrics.ended(record())
    assert samples(metrics)[f"tokenwire_{name}_seconds_sum"] == seconds


def test_tokens_of_a_completion_are_counted() -> None:
    metrics = make()
    metrics.ended(record(key_id="alice"))
    found = samples(metrics)
    assert found["tokenwire_prompt_tokens_total"] == found["tokenwire_prefix_cache_queries_total"] == 10
    assert found["tokenwire_prefix_cache_hits_total"] == 4
    assert found["tokenwire_wasted_tokens_total"] == 1
    assert found["tokenwire_key_tokens_total alice prompt"] == 10
    assert found["tokenwire_key_tokens_total alice generation"] == 5
    assert found["tokenwire_request_success_total stop"] == found["tokenwire_completions_total completed"] == 1


def test_a_completion_that_never_had_its_turn_is_no_prompt_of_the_engine() -> None:
    metrics = make()
    metrics.ended(record(outcome="cancelled", finish_reasons=(), scheduled_s=None, first_token_s=None))
    found = samples(metrics)
    assert found["tokenwire_completions_total cancelled"] == 1
    assert found["tokenwire_prompt_tokens_total"] == found["tokenwire_request_queue_time_seconds_count"] == 0


def test_tokens_that_come_together_weigh_as_many() -> None:
    metrics = make()
    metrics.generated(1, None)
    metrics.generated(4, 0.02)
    metrics.generated(1, 30.0)
    found = samples(metrics)
    assert found["tokenwire_generation_tokens_total"] == 6
    assert found["tokenwire_inter_token_latency_seconds_bucket 0.01"] == 0
    assert found["tokenwire_inter_token_latency_seconds_bucket 0.025"] == 4
    assert found["tokenwire_inter_token_latency_seconds_bucket +Inf"] == 5
    assert found["tokenwire_inter_token_latency_seconds_sum"] == pytest.approx(30.08)


def test_calls_are_counted_by_method_and_code() -> None:
    metrics = make()
    metrics.called(Call(method="ChatService/CreateChatCompletion"))
    metrics.called(Call(method="ChatService/CreateChatCompletion", code="UNAVAILABLE", reason="QUEUE_FULL"))
    metrics.called(Call(method="GET /health", code="200", is_http=True, seconds=0.2))
    found = samples(metrics)
    assert found["tokenwire_rpcs_total OK ChatService/CreateChatCompletion"] == 1
    assert found["tokenwire_rpcs_total UNAVAILABLE ChatService/CreateChatCompletion"] == 1
    assert found["tokenwire_errors_total QUEUE_FULL"] == 1
    assert found["tokenwire_http_requests_total 200 GET /health"] == 1
    assert found["tokenwire_http_request_duration_seconds_sum GET /health"] == 0.2


def test_callers_see_no_names_of_keys() -> None:
    metrics = make()
    metrics.ended(record(key_id="alice"))
    assert b"alice" in metrics.render()[0]
    text = metrics.render_without_keys()[0]
    assert b"alice" not in text
    assert b"tokenwire_prompt_tokens_total" in text


def test_the_number_of_keys_with_series_of_their_own_is_bounded() -> None:
    metrics = make()
    for number in range(MAX_KEYS + 3):
        metrics.ended(record(key_id=f"key-{number}"))
    found = samples(metrics)
    assert len([name for name in found if name.startswith("tokenwire_key_tokens_total")]) == 2 * (MAX_KEYS + 1)
    assert found["tokenwire_key_tokens_total other prompt"] == 30


def test_the_process_is_measured_too() -> None:
    assert samples(make())["process_resident_memory_bytes"] > 0


def test_a_rate_is_that_of_the_last_seconds() -> None:
    now_s = 1000.0
    rate = Rate(clock=lambda: now_s)
    rate.add(50)
    now_s = 1005.0
    rate.add(50)
    assert rate.per_second == 20
    now_s = 1012.0
    assert rate.per_second == 5
    now_s = 1030.0
    assert rate.per_second == 0
