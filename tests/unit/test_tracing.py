"""The spans of a completion."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from support.trace_collector import collecting
from tokenwire.chat.caller import Caller
from tokenwire.chat.observer import CompletionRecord
from tokenwire.tracing import Traces
from tokenwire.v1.chat_pb2 import Usage

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def spans_of(record: CompletionRecord) -> dict[str, ReadableSpan]:
    """By name."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Traces(provider).ended(record)
    return {span.name: span for span in exporter.get_finished_spans()}


def make(**fields: object) -> CompletionRecord:
    """Of a completion that waited for 1 s, had its first token after 2 s more, and its last 4 s after that."""
    values: dict[str, object] = {
        "caller": Caller(log_id="req_1", traceparent=f"00-{TRACE}-{PARENT}-01"),
        "outcome": "completed",
        "finish_reasons": ("stop",),
        "scheduled_s": 101.0,
        "first_token_s": 103.0,
        "last_token_s": 107.0,
        **fields,
    }
    usage = Usage(prompt_tokens=10, completion_tokens=5)
    return CompletionRecord(
        id="chatcmpl-1",
        model="m",
        usage=usage,
        accepted_s=100.0,
        ended_s=107.5,
        **values,  # type: ignore[arg-type]
    )


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_the_spans_are_the_parts_of_the_time() -> None:
    spans = spans_of(make())
    assert {name: seconds(span) for name, span in spans.items()} == pytest.approx(
        {"chat m": 7.5, "queue": 1.0, "prefill": 2.0, "decode": 4.0}
    )


def test_the_parts_are_below_the_completion_which_is_below_the_caller() -> None:
    spans = spans_of(make())
    chat = spans.pop("chat m")
    assert chat.parent is not None
    assert f"{chat.parent.trace_id:032x}" == TRACE
    assert f"{chat.parent.span_id:016x}" == PARENT
    assert chat.context is not None
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == chat.context.span_id


def test_without_a_caller_s_trace_it_begins_one() -> None:
    assert spans_of(make(caller=Caller()))["chat m"].parent is None


def test_the_attributes_are_those_of_the_conventions_and_have_no_text() -> None:
    attributes = spans_of(make())["chat m"].attributes
    assert attributes is not None
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "m"
    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["tokenwire.request_id"] == "req_1"


def test_a_failed_completion_is_an_error_with_its_reason() -> None:
    span = spans_of(make(outcome="failed", reason="ENGINE_FAULT", finish_reasons=()))["chat m"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ENGINE_FAULT"


def test_a_completion_that_never_had_its_turn_only_waited() -> None:
    spans = spans_of(make(outcome="cancelled", scheduled_s=None, first_token_s=None, last_token_s=None))
    assert set(spans) == {"chat m", "queue"}
    assert seconds(spans["queue"]) == pytest.approx(7.5)


async def test_the_spans_reach_a_collector_before_the_end() -> None:
    async with collecting() as collector:
        traces = Traces.to_collector(collector.endpoint)
        traces.ended(make())
        await traces.stop()
    assert sorted(span.name for span in collector.spans) == ["chat m", "decode", "prefill", "queue"]


def test_without_traces_their_packages_are_not_loaded() -> None:
    code = "import sys, tokenwire.server; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
