"""How much service each of several has had, to serve the one with the least next: virtual token counters."""

from collections.abc import Mapping

INPUT_TOKEN, OUTPUT_TOKEN = 1, 2
"""Weights of the service. A generated token costs more than one of a prompt, which is computed among many."""

_MAX_IDLE = 1024
"""So many names that wait for nothing are remembered."""


class ServiceCounters:
    """Virtual token counters (Sheng et al., "Fairness in serving large language models", OSDI 2024, algorithm 2).

    Who has had the least is next. Who comes back after a pause is lifted to the least of those who wait: a pause earns
    no credit. So of two who always wait, neither gets ahead of the other by more than what runs at once.
    """

    def __init__(self) -> None:
        self._service: dict[str, float] = {}
        self._waiting: dict[str, None] = {}  # in the order in which they began
        self._level = 0.0
        """What the last one that was chosen had had."""

    def begin_waiting(self, name: str) -> None:
        """Something of it waits now, and nothing did before."""
        least = min((self._service[other] for other in self._waiting), default=self._level)
        self._service[name] = max(self._service.get(name, 0.0), least)
        self._waiting[name] = None

    def end_waiting(self, name: str) -> None:
        """Nothing of it waits any more."""
        del self._waiting[name]
        if len(self._service) > len(self._waiting) + 2 * _MAX_IDLE:
            self._forget()

    def choose(self) -> str:
        """Of those who wait the one with the least service; of several, the one that has waited longest."""
        name = min(self._waiting, key=self._service.__getitem__)
        self._level = max(self._level, self._service[name])
        return name

    def charge(self, name: str, service: float) -> None:
        """It has had more service."""
        if name in self._service:
            self._service[name] += service

    def num_before(self, name: str, own: float, *, sizes: Mapping[str, int], cost: float) -> float:
        """About how many requests begin before one with `own` of the same name before it, if each costs `cost`.

        `sizes` has how many of each name wait. Others are served until they have had what it will have had by then.
        """
        service = self._service
        begin = service[name] if name in self._waiting else max(service.get(name, 0.0), self._level)
        until = begin + own * cost
        before = own
        for other, size in sizes.items():
            if other != name and (ahead := (until - service[other]) / cost + 1) > 0:
                before += size if size < ahead else ahead
        return before

    def _forget(self) -> None:
        """Those that wait for nothing and have had the least: they would be lifted anyway."""
        idle = sorted(self._service.keys() - self._waiting, key=self._service.__getitem__)
        for name in idle[:-_MAX_IDLE]:
            del self._service[name]
