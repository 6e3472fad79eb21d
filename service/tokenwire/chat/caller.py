"""Who calls, and until when the answer is of use. Transports make it; everything that tells callers apart reads it."""

from contextvars import ContextVar
from dataclasses import dataclass

from tokenwire.chat.quota import NO_LIMITS, Quota


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of one RPC or HTTP request."""

    key_id: str = ""
    """Name of the API key; empty where the server has no keys. Completions belong to it."""
    quota: Quota = NO_LIMITS
    """What the key allows."""
    deadline_s: float | None = None
    """The deadline of the call, on the monotonic clock; None: it has none."""
    log_id: str = ""
    """`x-request-id`: for logs and traces only."""
    traceparent: str = ""
    """W3C trace context, if the caller sent one."""


ANYONE = Caller()
"""Of calls within the process, and of tests."""

CURRENT: ContextVar[Caller] = ContextVar("caller", default=ANYONE)
"""That of the call which is being handled. A transport sets it before it calls a handler."""
