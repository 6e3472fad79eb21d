"""How long the events of a completion are kept, and what happens to it without readers."""

from dataclasses import dataclass
from typing import Self

from tokenwire.chat.validation.policy import seconds_of
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, OnDisconnect


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """Those of the server."""

    default_s: float = 60.0
    """With a `request_id`, or for a completion that detaches."""
    max_s: float = 3600.0
    """The longest that may be asked."""
    max_bytes: int = 256 << 20
    """Of the events of all completions together."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What a request asks for."""

    detaches: bool
    """It goes on without readers."""
    retain_s: float
    """How long its events are kept after its end."""
    keeps: bool
    """Whether readers may come while it is live."""

    @classmethod
    def of(cls, request: ChatCompletionRequest, limits: RetentionLimits) -> Self:
        """That of a valid request."""
        policy = request.execution_policy
        detaches = policy.on_disconnect == OnDisconnect.ON_DISCONNECT_DETACH
        if policy.HasField("retain_for"):
            retain_s = seconds_of(policy.retain_for)
        else:
            retain_s = limits.default_s if detaches or request.request_id else 0.0
        return cls(detaches, retain_s, keeps=detaches or retain_s > 0 or bool(request.request_id))
