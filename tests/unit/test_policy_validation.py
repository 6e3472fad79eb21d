"""The rules of how a request is executed."""

import pytest
from google.protobuf.duration_pb2 import Duration

from tokenwire.chat.validation.policy import check_execution, seconds_of
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, OnDeadline, OnDisconnect

HOUR_S = 3600


def refused(policy: ExecutionPolicy) -> list[str]:
    request = ChatCompletionRequest(execution_policy=policy)
    return [violation.field for violation in check_execution(request, max_retain_s=HOUR_S)]


@pytest.mark.parametrize(
    "policy",
    [
        ExecutionPolicy(),
        ExecutionPolicy(priority=-100, max_queue_time=Duration(nanos=1), time_budget=Duration(seconds=1 << 32)),
        ExecutionPolicy(retain_for=Duration(seconds=HOUR_S), on_disconnect=OnDisconnect.ON_DISCONNECT_DETACH),
        ExecutionPolicy(on_deadline=OnDeadline.ON_DEADLINE_RETURN_PARTIAL),
    ],
)
def test_legal_policies_pass(policy: ExecutionPolicy) -> None:
    assert refused(policy) == []


@pytest.mark.parametrize("field", ["max_queue_time", "time_budget", "retain_for"])
@pytest.mark.parametrize(
    "duration",
    [
        Duration(),
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=1, nanos=-1),
        Duration(seconds=1, nanos=1_000_000_000),
        Duration(seconds=315_576_000_001),
        Duration(seconds=(1 << 63) - 1),
        Duration(seconds=-(1 << 63), nanos=-(1 << 31)),
    ],
    ids=str,
)
def test_a_time_that_is_not_above_0_or_is_no_duration_is_refused(field: str, duration: Duration) -> None:
    assert refused(ExecutionPolicy(**{field: duration})) == [f"execution_policy.{field}"]  # type: ignore[arg-type]


def test_events_are_not_retained_for_longer_than_the_server_allows() -> None:
    assert refused(ExecutionPolicy(retain_for=Duration(seconds=HOUR_S, nanos=1))) == ["execution_policy.retain_for"]


def test_words_that_nobody_knows_are_refused() -> None:
    policy = ExecutionPolicy(on_deadline=9, on_disconnect=-1)  # type: ignore[arg-type]
    assert refused(policy) == ["execution_policy.on_deadline", "execution_policy.on_disconnect"]


def test_a_duration_has_seconds_and_nanoseconds() -> None:
    assert seconds_of(Duration(seconds=2, nanos=500_000_000)) == 2.5
