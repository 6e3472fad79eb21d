"""Counts what each API key uses, and refuses what is more than its quota."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tokenwire.chat.caller import Caller
from tokenwire.errors import RateLimitedError

_CONCURRENCY_RETRY_S = 1.0
"""When a completion of the key ends is not known; one of them may by then."""


@dataclass(slots=True)
class TokenBucket:
    """What is left of a limit per minute. It fills steadily, to a minute's worth, and may go into debt."""

    level: float | None = None
    """None: nothing was ever taken."""
    at_s: float = 0.0

    def fill(self, per_minute: float, *, now_s: float) -> float:
        """The level now. The rate may have changed since."""
        most = max(per_minute, 1.0)  # else less than one a minute would never come
        level = most if self.level is None else self.level + (now_s - self.at_s) * per_minute / 60
        self.level, self.at_s = min(level, most), now_s
        return self.level

    def take(self, amount: float) -> None:
        """After `fill`."""
        assert self.level is not None
        self.level -= amount


@dataclass(slots=True)
class _Usage:
    """Of one key."""

    num_live: int = 0
    requests: TokenBucket = field(default_factory=TokenBucket)
    tokens: TokenBucket = field(default_factory=TokenBucket)


class Charge:
    """What one completion takes of its key's quota. `end` it, whatever happens."""

    def __init__(self, usage: _Usage, tokens_per_minute: float | None, clock: Callable[[], float]) -> None:
        self._usage = usage
        self._tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._is_live = True

    def add_tokens(self, count: int) -> None:
        """Tokens were used, of the prompt or of the answer. They are only known afterwards, so they may make a debt,
        which the next completions of the key wait for."""
        if self._tokens_per_minute is not None:
            self._usage.tokens.fill(self._tokens_per_minute, now_s=self._clock())
            self._usage.tokens.take(count)

    def end(self) -> None:
        """The completion neither waits nor runs any more. Harmless if said again."""
        if self._is_live:
            self._is_live = False
            self._usage.num_live -= 1


class QuotaMeter:
    """Of all keys. Callers without a key have no limits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._usages: dict[str, _Usage] = {}  # as many as names were ever in the key file

    def begin(self, caller: Caller) -> Charge:
        """A completion of the caller begins. Raises `RateLimitedError`; then nothing was taken."""
        usage = self._usages.setdefault(caller.key_id, _Usage()) if caller.key_id else _Usage()
        quota, now_s = caller.quota, self._clock()
        if quota.max_concurrent is not None and usage.num_live >= quota.max_concurrent:
            raise _refusal(caller, "max_concurrent", quota.max_concurrent, retry_after_s=_CONCURRENCY_RETRY_S)
        if (rate := quota.tokens_per_minute) is not None and (level := usage.tokens.fill(rate, now_s=now_s)) <= 0:
            raise _refusal(caller, "tokens_per_minute", rate, retry_after_s=(1 - level) / rate * 60)
        if (rate := quota.requests_per_minute) is not None:
            if (level := usage.requests.fill(rate, now_s=now_s)) < 1:
                raise _refusal(caller, "requests_per_minute", rate, retry_after_s=(1 - level) / rate * 60)
            usage.requests.take(1)
        usage.num_live += 1
        return Charge(usage, quota.tokens_per_minute, self._clock)


def _refusal(caller: Caller, limit: str, most: float, *, retry_after_s: float) -> RateLimitedError:
    return RateLimitedError(
        f"the API key {caller.key_id!r} has used up its `{limit}` of {most:g}",
        subject=f"key:{caller.key_id}/{limit}",
        retry_after_s=retry_after_s,
    )
