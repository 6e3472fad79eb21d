"""OpenTelemetry traces: one span for each completion, with its waiting, prefill and decoding below it.

The spans are made from the times of a completion once it has ended, so that nothing is done with each token. Names and
attributes are those of the semantic conventions for generative AI, version 1.37.
"""

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tokenwire.chat.observer import CompletionRecord

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

STOP_TIMEOUT_S = 5.0
"""How long the end of the server waits for a collector to take the last spans."""


class TracingError(Exception):
    """Traces cannot be made; the message is for the operator."""


class Traces:
    """Implements `CompletionObserver`."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("tokenwire")

    @classmethod
    def to_collector(cls, endpoint: str) -> "Traces":
        """Send the spans over OTLP to an endpoint, such as `http://localhost:4317`. Raises `TracingError`.

        What else there is to set, headers and certificates, stands in OpenTelemetry's environment variables.
        """
        try:  # it takes a third of a second, and most servers do not need it
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise TracingError(f"traces need more packages: pip install 'tokenwire[tracing]' ({error})") from error
        provider = TracerProvider(resource=Resource.create({"service.name": "tokenwire"}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        return cls(provider)

    def generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """As `CompletionObserver.generated`."""

    def resumed(self) -> None:
        """As `CompletionObserver.resumed`."""

    def ended(self, record: CompletionRecord) -> None:
        """As `CompletionObserver.ended`: make the spans."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        clock = _WallClock()
        span = self._tracer.start_span(
            f"chat {record.model}",
            context=_parent(record.caller.traceparent),
            kind=SpanKind.SERVER,
            attributes=_attributes(record),
            start_time=clock.ns(record.accepted_s),
        )
        if record.outcome == "failed":
            span.set_attribute("error.type", record.reason)
            span.set_status(Status(StatusCode.ERROR, record.reason))
        within = set_span_in_context(span)
        scheduled_s = record.ended_s if record.scheduled_s is None else record.scheduled_s
        _add(self._tracer, within, "queue", clock.ns(record.accepted_s), clock.ns(scheduled_s))
        if record.scheduled_s is not None:
            first_s = record.ended_s if record.first_token_s is None else record.first_token_s
            _add(self._tracer, within, "prefill", clock.ns(record.scheduled_s), clock.ns(first_s))
        if record.first_token_s is not None and record.last_token_s is not None:
            _add(self._tracer, within, "decode", clock.ns(record.first_token_s), clock.ns(record.last_token_s))
        span.end(clock.ns(record.ended_s))

    async def stop(self) -> None:
        """Send what is left, within `STOP_TIMEOUT_S`."""
        with suppress(TimeoutError):  # a collector that does not answer: its spans are lost
            await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), STOP_TIMEOUT_S)


class _WallClock:
    """Turns moments of the monotonic clock into nanoseconds since 1970."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def ns(self, monotonic_s: float) -> int:
        """When that was."""
        return round(monotonic_s * 1e9) + self._offset_ns


def _add(tracer: "Tracer", within: "Context", name: str, start_ns: int, end_ns: int) -> None:
    tracer.start_span(name, context=within, start_time=start_ns).end(end_ns)


def _parent(traceparent: str) -> "Context":
    """The caller's span; without one the completion begins a trace of its own."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())


def _attributes(record: CompletionRecord) -> dict[str, str | int | list[str]]:
    usage = record.usage
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tokenwire",
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.model,
        "gen_ai.response.id": record.id,
        "gen_ai.request.choice.count": record.num_choices,
        "gen_ai.request.max_tokens": record.max_tokens,
        "gen_ai.response.finish_reasons": list(record.finish_reasons),
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "tokenwire.cached_prompt_tokens": usage.cached_prompt_tokens,
        "tokenwire.outcome": record.outcome,
        "tokenwire.request_id": record.caller.log_id,
    }
