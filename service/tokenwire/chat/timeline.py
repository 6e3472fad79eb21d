"""When what happened to a completion."""

import time
from collections.abc import Callable, Sequence

from google.protobuf.duration_pb2 import Duration

from tokenwire.engine.protocol import SequenceOutput
from tokenwire.v1.chat_pb2 import Timings


class Timeline:
    """Moments in seconds on the monotonic clock; None: not yet."""

    __slots__ = ("_on_tokens", "accepted_s", "first_token_s", "last_token_s", "scheduled_s", "submitted_s")

    def __init__(self, accepted_s: float, *, on_tokens: Callable[[int, float | None], None]) -> None:
        """`on_tokens` is told how many tokens have come together, and how far apart they are; None: the first ones."""
        self._on_tokens = on_tokens
        self.accepted_s = accepted_s
        self.submitted_s = time.monotonic()
        """When the engine was asked."""
        self.scheduled_s: float | None = None
        """When the engine first worked on it."""
        self.first_token_s: float | None = None
        self.last_token_s: float | None = None

    def submitted(self) -> None:
        """The engine is asked now."""
        self.submitted_s = time.monotonic()

    def note(self, outputs: Sequence[SequenceOutput], *, num_choices: int) -> None:
        """Outputs have come, of so many live choices."""
        if self.scheduled_s is None:
            self.scheduled_s = self.submitted_s + outputs[0].queue_s
        num_tokens = sum([len(output.token_ids) for output in outputs])
        if not num_tokens:
            return
        now_s = time.monotonic()
        if self.last_token_s is None:
            self.first_token_s = now_s
            self._on_tokens(num_tokens, None)
        else:
            self._on_tokens(num_tokens, (now_s - self.last_token_s) * min(num_choices, num_tokens) / num_tokens)
        self.last_token_s = now_s

    @property
    def timings(self) -> Timings:
        """As the caller is told."""
        timings = Timings()
        if self.scheduled_s is not None:
            timings.queue.CopyFrom(_duration(self.scheduled_s - self.accepted_s))
        if self.first_token_s is not None and self.last_token_s is not None:
            timings.time_to_first_token.CopyFrom(_duration(self.first_token_s - self.accepted_s))
            timings.total.CopyFrom(_duration(self.last_token_s - self.accepted_s))
        return timings


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
