"""Options of streams: heartbeats, slow readers, what is retained for readers that come back."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_not_negative, check_positive, check_size, parse_size


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How streams are kept alive and retained."""

    heartbeat_s: Annotated[float, Parameter(validator=check_positive)] = 10.0
    """Seconds of silence after which a stream carries a heartbeat."""

    max_unread: Annotated[str, Parameter(validator=check_size)] = "4MiB"
    """Most events, in bytes, that may wait for one reader; a slower one is cut off with SLOW_CONSUMER."""

    max_write_s: Annotated[float, Parameter(validator=check_positive)] = 60.0
    """Longest time that one event may take to be written to a reader; a slower one is cut off with SLOW_CONSUMER."""

    retain_for_s: Annotated[float, Parameter(validator=check_not_negative)] = 60.0
    """Seconds for which an ended completion with a `request_id`, or one that detaches, can be resumed by default."""

    max_retain_for_s: Annotated[float, Parameter(validator=check_not_negative)] = 3600.0
    """Most seconds that a request may ask for."""

    max_retained: Annotated[str, Parameter(validator=check_size)] = "256MiB"
    """Memory of the events of all live and retained completions; the oldest one that has ended goes first."""

    @property
    def max_unread_bytes(self) -> int:
        """`max_unread` in bytes."""
        return parse_size(self.max_unread)

    @property
    def max_retained_bytes(self) -> int:
        """`max_retained` in bytes."""
        return parse_size(self.max_retained)
