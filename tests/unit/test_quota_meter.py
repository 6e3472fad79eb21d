"""What keys use of their quotas, by a clock that the tests set."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.chat.caller import ANYONE, Caller
from tokenwire.chat.quota import Quota
from tokenwire.chat.quota_meter import QuotaMeter
from tokenwire.errors import RateLimitedError


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def caller(name: str = "alice", **limits: float) -> Caller:
    return Caller(key_id=name, quota=Quota(**limits))  # type: ignore[arg-type]


def refusal(meter: QuotaMeter, who: Caller) -> RateLimitedError:
    with pytest.raises(RateLimitedError) as caught:
        meter.begin(who)
    return caught.value


def test_completions_at_once_are_bounded_until_one_ends() -> None:
    meter, who = QuotaMeter(), caller(max_concurrent=2)
    first = meter.begin(who)
    meter.begin(who)
    error = refusal(meter, who)
    assert error.subject == "key:alice/max_concurrent"
    assert error.retry_after_s > 0
    first.end()
    first.end()
    meter.begin(who)
    refusal(meter, who)


def test_a_minutes_requests_may_come_at_once_and_then_they_come_steadily() -> None:
    clock = Clock()
    meter, who = QuotaMeter(clock), caller(requests_per_minute=6)
    for _ in range(6):
        meter.begin(who)
    error = refusal(meter, who)
    assert error.subject == "key:alice/requests_per_minute"
    assert error.retry_after_s == pytest.approx(10)
    clock.now_s += error.retry_after_s
    meter.begin(who)
    refusal(meter, who)


def test_less_than_a_request_a_minute_is_one_now_and_then() -> None:
    clock = Clock()
    meter, who = QuotaMeter(clock), caller(requests_per_minute=0.5)
    meter.begin(who)
    assert refusal(meter, who).retry_after_s == pytest.approx(120)
    clock.now_s += 120
    meter.begin(who)


def test_tokens_may_make_a_debt_that_the_next_request_waits_for() -> None:
    clock = Clock()
    meter, who = QuotaMeter(clock), caller(tokens_per_minute=60)
    charge = meter.begin(who)
    charge.add_tokens(50)
    meter.begin(who).add_tokens(70)
    error = refusal(meter, who)
    assert error.subject == "key:alice/tokens_per_minute"
    assert error.retry_after_s == pytest.approx(61)
    clock.now_s += 61
    meter.begin(who)


def test_a_refusal_takes_nothing() -> None:
    clock = Clock()
    meter, who = QuotaMeter(clock), caller(max_concurrent=1, requests_per_minute=2)
    charge = meter.begin(who)
    for _ in range(5):
        refusal(meter, who)
    charge.end()
    meter.begin(who)


def test_keys_do_not_share_their_quotas() -> None:
    meter = QuotaMeter()
    meter.begin(caller("alice", max_concurrent=1))
    meter.begin(caller("bob", max_concurrent=1))
    refusal(meter, caller("alice", max_concurrent=1))


def test_a_changed_limit_holds_at_once() -> None:
    clock = Clock()
    meter = QuotaMeter(clock)
    for _ in range(2):
        meter.begin(caller(requests_per_minute=2))
    clock.now_s += 60
    meter.begin(caller(requests_per_minute=1))
    refusal(meter, caller(requests_per_minute=1))


def test_who_has_no_key_has_no_limits() -> None:
    meter = QuotaMeter()
    for _ in range(1000):
        meter.begin(ANYONE).add_tokens(10**9)


@given(gaps=st.lists(st.floats(0, 100), max_size=50), rate=st.floats(0.1, 100))
def test_no_minute_has_more_than_twice_its_requests(gaps: list[float], rate: float) -> None:
    """A full bucket and a minute's flow: that is what a bucket lets through at most."""
    clock = Clock()
    meter, who = QuotaMeter(clock), caller(requests_per_minute=rate)
    begun: list[float] = []
    for gap in gaps:
        clock.now_s += gap
        with suppress(RateLimitedError):
            meter.begin(who)
            begun.append(clock.now_s)
    most = max(rate, 1) + rate + 1e-6
    assert all(sum(start <= at <= start + 60 for at in begun) <= most for start in begun)
