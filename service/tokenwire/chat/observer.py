"""What is told to those who watch completions: metrics, traces. `chat/` knows none of them."""

from dataclasses import dataclass
from typing import Protocol

from tokenwire.chat.caller import Caller
from tokenwire.v1.chat_pb2 import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRecord:
    """A completion that has ended. Times are seconds on the monotonic clock."""

    id: str
    model: str
    caller: Caller
    outcome: str
    """`completed`, `cancelled` or `failed`."""
    reason: str = ""
    """`ErrorInfo.reason` of what ended it before it was complete."""
    finish_reasons: tuple[str, ...] = ()
    """Short names (`stop`, `length` …) of the choices that have finished, in choice order."""
    usage: Usage
    num_choices: int = 1
    max_tokens: int = 0
    """Of each choice, as they are in force."""
    accepted_s: float
    scheduled_s: float | None = None
    """When the engine first worked on it."""
    first_token_s: float | None = None
    last_token_s: float | None = None
    ended_s: float


class CompletionObserver(Protocol):
    """Watches completions. No method may raise or wait."""

    def generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """Tokens of a completion have come together, `seconds_each` apart; None: they are its first."""
        ...

    def resumed(self) -> None:
        """A reader has come back to a completion."""
        ...

    def ended(self, record: CompletionRecord) -> None:
        """A completion has ended, in whatever way."""
        ...
