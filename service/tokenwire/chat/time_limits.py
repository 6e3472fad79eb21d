"""Until when a request is of use: when it must have begun, and when its answer is cut."""

from dataclasses import dataclass
from typing import Self

from tokenwire.chat.caller import Caller
from tokenwire.chat.validation.policy import seconds_of
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, OnDeadline, OnDisconnect

MARGIN_S = 0.2
"""A partial answer is cut so long before the deadline of the call. The client's clock for it began to run half a round
trip before the server's, and the answer takes another half: enough for round trips of up to about 150 ms."""
MOST_MARGIN = 0.25
"""But at most this share of the time that the call has."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Moments on the monotonic clock, in seconds; None: no limit."""

    begin_by_s: float | None
    """Then it has waited for too long (`max_queue_time`)."""
    deadline_s: float | None
    """After it an answer that begins is of no use to the caller."""
    cut_s: float | None
    """Then choices that are not done end with what they have (`time_budget`, `on_deadline`)."""

    @classmethod
    def of(cls, request: ChatCompletionRequest, caller: Caller, *, accepted_s: float) -> Self:
        """Those of a valid request."""
        policy, deadline_s = request.execution_policy, caller.deadline_s
        begin_by_s = cut_s = None
        if policy.HasField("max_queue_time"):
            begin_by_s = accepted_s + seconds_of(policy.max_queue_time)
        if policy.HasField("time_budget"):
            cut_s = accepted_s + seconds_of(policy.time_budget)
        if deadline_s is not None and policy.on_deadline == OnDeadline.ON_DEADLINE_RETURN_PARTIAL:
            deadline_s -= min(MARGIN_S, MOST_MARGIN * max(0.0, deadline_s - accepted_s))
            cut_s = deadline_s if cut_s is None else min(cut_s, deadline_s)
        detaches = policy.on_disconnect == OnDisconnect.ON_DISCONNECT_DETACH
        return cls(begin_by_s, None if detaches else deadline_s, cut_s)
