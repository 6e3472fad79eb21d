"""The rules of how a request is executed: `service_tier` and `execution_policy`."""

from collections.abc import Iterator

from google.protobuf.duration_pb2 import Duration

from tokenwire.chat.validation.limits import MAX_PRIORITY
from tokenwire.errors import Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, OnDeadline, OnDisconnect, ServiceTier

_NANOS = 10**9
_MAX_SECONDS = 315_576_000_000
"""Of a `google.protobuf.Duration`: about 10,000 years."""


def check_execution(request: ChatCompletionRequest, *, max_retain_s: float) -> Iterator[Violation]:
    """Every violation in `service_tier` and `execution_policy`."""
    if request.service_tier not in ServiceTier.values():
        yield Violation("service_tier", f"`service_tier` must be a known tier; got {request.service_tier}")
    if request.HasField("execution_policy"):
        yield from _check_policy(request.execution_policy, max_retain_s)


def seconds_of(duration: Duration) -> float:
    """A duration in seconds, whatever is in it: the message's own methods raise where it is out of range."""
    return duration.seconds + duration.nanos / _NANOS


def _check_policy(policy: ExecutionPolicy, max_retain_s: float) -> Iterator[Violation]:
    path = "execution_policy"
    if abs(policy.priority) > MAX_PRIORITY:
        bound = "above_max" if policy.priority > 0 else "below_min"
        description = f"`{path}.priority` must be in [{-MAX_PRIORITY}, {MAX_PRIORITY}]; got {policy.priority}"
        yield Violation(f"{path}.priority", description, f"integer_{bound}_value")
    for field in ("max_queue_time", "time_budget"):
        if policy.HasField(field):
            yield from _check_duration(f"{path}.{field}", getattr(policy, field))
    if policy.HasField("retain_for"):
        yield from _check_duration(f"{path}.retain_for", policy.retain_for, max_s=max_retain_s)
    if policy.on_deadline not in OnDeadline.values():
        yield Violation(f"{path}.on_deadline", f"`{path}.on_deadline` must be a known value; got {policy.on_deadline}")
    if policy.on_disconnect not in OnDisconnect.values():
        description = f"`{path}.on_disconnect` must be a known value; got {policy.on_disconnect}"
        yield Violation(f"{path}.on_disconnect", description)


def _check_duration(field: str, duration: Duration, *, max_s: float = _MAX_SECONDS) -> Iterator[Violation]:
    """The violation of a time that is not above 0, is longer than `max_s`, or is no duration at all."""
    seconds, nanos = duration.seconds, duration.nanos
    if abs(seconds) > _MAX_SECONDS or abs(nanos) >= _NANOS or seconds * nanos < 0:
        description = f"`{field}` must be a valid duration; got {seconds} s and {nanos} ns"
        yield Violation(field, description)
    elif (given := seconds_of(duration)) <= 0:
        yield Violation(field, f"`{field}` must be above 0 s; got {given:g} s", "decimal_below_min_value")
    elif given > max_s:
        yield Violation(field, f"`{field}` must be at most {max_s:g} s; got {given:g} s", "decimal_above_max_value")
