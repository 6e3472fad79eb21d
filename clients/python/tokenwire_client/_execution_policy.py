"""How a request is executed: what callers may pass, and the contract's message made of it."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict

from google.protobuf.duration_pb2 import Duration

from tokenwire.v1.chat_pb2 import ExecutionPolicy, OnDeadline, OnDisconnect
from tokenwire_client._dicts import enum_value, refuse_unknown_keys


class ExecutionPolicyDict(TypedDict, total=False):
    """How a request is executed, in the contract's names, times in seconds: `{"priority": 5, "time_budget_s": 20}`.

    None is "not given".
    """

    priority: int | None
    max_queue_time_s: float | None
    time_budget_s: float | None
    on_deadline: Literal["fail", "return_partial"] | None
    on_disconnect: Literal["cancel", "detach"] | None
    retain_for_s: float | None


def to_execution_policy(given: ExecutionPolicy | ExecutionPolicyDict) -> ExecutionPolicy:
    """Raises `ValueError` for a dict that is no policy, `TypeError` for a value of a wrong type."""
    if isinstance(given, ExecutionPolicy):
        return given
    refuse_unknown_keys(given, ExecutionPolicyDict.__annotations__, what="an execution policy")
    fields: dict[str, Any] = {
        name.removesuffix("_s"): _CONVERTERS[name](value) if name in _CONVERTERS else value
        for name, value in given.items()
        if value is not None
    }
    return ExecutionPolicy(**fields)


def duration(seconds: float) -> Duration:
    """Raises `ValueError` for what is no time."""
    converted = Duration()
    try:
        converted.FromTimedelta(timedelta(seconds=seconds))
    except OverflowError:
        raise ValueError(f"a time must be a number of seconds; got {seconds}") from None
    return converted


_CONVERTERS: Mapping[str, Callable[[Any], object]] = {
    "max_queue_time_s": duration,
    "time_budget_s": duration,
    "retain_for_s": duration,
    "on_deadline": lambda name: enum_value(OnDeadline.items(), name, field="on_deadline"),
    "on_disconnect": lambda name: enum_value(OnDisconnect.items(), name, field="on_disconnect"),
}
"""Of the fields that are given in other forms than the contract's."""
