"""Until when a request is of use, by its execution policy and the deadline of its call."""

import pytest
from google.protobuf.duration_pb2 import Duration

from tokenwire.chat.caller import Caller
from tokenwire.chat.time_limits import MARGIN_S, TimeLimits
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, OnDeadline, OnDisconnect

ACCEPTED_S = 1000.0
PARTIAL = OnDeadline.ON_DEADLINE_RETURN_PARTIAL


def limits(policy: ExecutionPolicy, *, deadline_s: float | None = None) -> TimeLimits:
    request = ChatCompletionRequest(execution_policy=policy)
    return TimeLimits.of(request, Caller(deadline_s=deadline_s), accepted_s=ACCEPTED_S)


def test_without_a_policy_only_the_deadline_of_the_call_counts() -> None:
    assert limits(ExecutionPolicy()) == TimeLimits(None, None, None)
    assert limits(ExecutionPolicy(), deadline_s=1010.0) == TimeLimits(None, 1010.0, None)


def test_times_run_from_acceptance() -> None:
    policy = ExecutionPolicy(max_queue_time=Duration(seconds=2), time_budget=Duration(nanos=500_000_000))
    assert limits(policy) == TimeLimits(1002.0, None, 1000.5)


def test_a_partial_answer_is_cut_a_margin_before_the_deadline() -> None:
    partial = ExecutionPolicy(on_deadline=PARTIAL)
    assert limits(partial, deadline_s=1010.0).cut_s == 1010.0 - MARGIN_S
    assert limits(partial, deadline_s=1000.1).cut_s == pytest.approx(1000.075)  # three quarters of what there is
    assert limits(partial).cut_s is None


def test_the_nearer_of_budget_and_deadline_cuts() -> None:
    short = ExecutionPolicy(on_deadline=PARTIAL, time_budget=Duration(seconds=1))
    assert limits(short, deadline_s=1010.0).cut_s == 1001.0
    long = ExecutionPolicy(on_deadline=PARTIAL, time_budget=Duration(seconds=60))
    assert limits(long, deadline_s=1010.0).cut_s == 1010.0 - MARGIN_S


def test_what_detaches_may_begin_after_the_deadline_of_its_call() -> None:
    detached = ExecutionPolicy(on_disconnect=OnDisconnect.ON_DISCONNECT_DETACH)
    assert limits(detached, deadline_s=1010.0).deadline_s is None
