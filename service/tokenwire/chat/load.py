"""How loaded the service is: figures for operators, balancers and metrics."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tokenwire.chat.observer import CompletionRecord
from tokenwire.engine.protocol import EngineLoad
from tokenwire.v1.operations_pb2 import ServerState

RATE_WINDOW_S = 10
"""Rates are taken over about so many seconds."""

_NO_STEPS = EngineLoad()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLoad:
    """The load of a server at one moment."""

    state: ServerState.ValueType
    running_choices: int = 0
    waiting_choices: int = 0
    max_queued_choices: int = 0
    """Most choices that may wait or run at once."""
    queued_tokens: int = 0
    """Tokens, of prompts and of answers that are expected, of all that waits or runs."""
    max_queued_tokens: int = 0
    estimated_wait_s: float | None = None
    """Until the generation of a request that comes now begins; None: there is no estimate."""
    tokens_per_second: float = 0.0
    requests_per_second: float = 0.0
    """Completions that have ended."""
    engine: EngineLoad = _NO_STEPS
    engine_restarts: int = 0
    live_completions: int = 0
    retained_completions: int = 0
    retained_bytes: int = 0
    stored_completions: int = 0

    @property
    def kv_cache_usage(self) -> float:
        """Share of the key-value cache that live sequences hold, in [0, 1]."""
        total = self.engine.total_blocks
        return (total - self.engine.free_blocks) / total if total else 0.0

    @property
    def utilization(self) -> float:
        """Share of what the queue may hold that it holds, in [0, 1]; the larger of choices and tokens."""
        choices = self.running_choices + self.waiting_choices
        return max(_share(choices, self.max_queued_choices), _share(self.queued_tokens, self.max_queued_tokens))


class Rate:
    """How many a second, over the last `RATE_WINDOW_S` whole seconds or less."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self._seconds: deque[list[int]] = deque(maxlen=RATE_WINDOW_S + 1)  # [second, count], oldest first

    def add(self, count: int) -> None:
        """So many more, now."""
        second = int(self._clock())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += count
        else:
            self._seconds.append([second, count])

    @property
    def per_second(self) -> float:
        """The rate now."""
        now_s = self._clock()
        since_s = max(self._began_s, int(now_s) - RATE_WINDOW_S)
        count = sum(count for second, count in self._seconds if second >= int(since_s))
        return count / max(now_s - since_s, 1.0)


class LoadMeter:
    """Takes the rates. Implements `CompletionObserver`."""

    def __init__(self) -> None:
        self.tokens = Rate()
        self.requests = Rate()

    def generated(self, num_tokens: int, seconds_each: float | None) -> None:
        """As `CompletionObserver.generated`."""
        self.tokens.add(num_tokens)

    def resumed(self) -> None:
        """As `CompletionObserver.resumed`."""

    def ended(self, record: CompletionRecord) -> None:
        """As `CompletionObserver.ended`."""
        self.requests.add(1)


def _share(part: int, whole: int) -> float:
    return min(part / whole, 1.0) if whole else 0.0
