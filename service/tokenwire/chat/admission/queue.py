"""The queue before the engine: who may come in, whose turn it is, how long one waits. Pure logic, without a clock."""

from collections import Counter
from collections.abc import Callable
from itertools import count, islice
from math import ceil

from tokenwire.chat.admission.answer_length import AnswerLength
from tokenwire.chat.admission.capacity import Capacity
from tokenwire.chat.admission.line import Line
from tokenwire.chat.admission.place import Demand, Place, Progress, Stage
from tokenwire.chat.admission.service_counters import INPUT_TOKEN, OUTPUT_TOKEN
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.chat.admission.wait import Ahead, wait_s
from tokenwire.engine.protocol import EngineLoad
from tokenwire.errors import DeadlineUnattainableError, QueueFullError

_LOOK_AHEAD = 8
"""For so many sequences that run, one waits in the engine, where the order is fixed. Of 64 running ones with answers of
50 tokens or more, 1.3 end in a step on average; the engine then goes on with those that it has, for the front end hears
of it a step later."""
_PATIENCE_S = 60.0
"""Deadlines nearer than this count among a tenant's own requests. One without is as if it had such a one, so it waits
no longer than this for others of its tenant that come later."""
_CERTAIN = 0.5
"""A wait is refused for its deadline only if so much of the estimate is already too long. In 99 of 100 cases the
estimate is below twice the wait (tests/unit/test_wait.py simulates it; there 1.9 times was the most), so nothing is
refused that would have begun in time."""
_SCARCE = 0.25
"""With less of its memory free an engine that lets sequences wait runs as many as it can."""
_LEAST_RETRY_S, _MOST_RETRY_S = 1.0, 30.0
"""Bounds of the advice when to try again; the lower one also where there is no estimate."""


class Queue:
    """Holds what waits for the engine and what the engine works on.

    A request reserves its place before any work is done for it, enters when its prompt is known, is chosen by `next`,
    and is released at the end, whatever happened. Order: priority; within it fair between keys and users (`Line`);
    among a tenant's own requests the nearest deadline, then arrival.

    The engine gets as many choices as it can run, and a few more. Lower priorities do not count against higher ones: a
    request that is more urgent than what runs goes at once, and the engine makes room for it.
    """

    def __init__(
        self, *, max_choices: int, max_tokens: int, max_running: int, delay_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        """`max_choices` and `max_tokens` bound all that waits or runs; `max_running` is that of the engine; `delay_s`
        tells how long it will be until the engine works again, 0 while it does."""
        self.choices = Capacity(max_choices)
        self.tokens = Capacity(max_tokens)
        self.answers = AnswerLength()
        self._max_running = max_running
        self._look_ahead = ceil(max_running / _LOOK_AHEAD)
        self._orders = count()
        self._lines: dict[int, Line] = {}  # by priority
        self._in_flight: dict[Place, None] = {}  # in order
        self._running: Counter[int] = Counter()  # live choices in flight, by priority
        self._delay_s = delay_s
        self._newest: tuple[EngineLoad, int, float | None] | None = None

    @property
    def num_waiting(self) -> int:
        """Choices that wait for their turn."""
        return sum(line.num_choices for line in self._lines.values())

    @property
    def num_in_flight(self) -> int:
        """Choices that the engine has."""
        return self._running.total()

    def reserve(self, tenant: Tenant, num_choices: int, *, load: EngineLoad) -> Place:
        """A place for a request of so many choices. Raises `QueueFullError`. Cheap: nothing is known of it yet."""
        if not self.choices.has_room(tenant, num_choices):
            raise self._full("choices", self.choices, tenant, num_choices, load)
        self.choices.take(tenant, num_choices)
        return Place(tenant, num_choices, next(self._orders), Progress(live_choices=num_choices))

    def enter(self, place: Place, demand: Demand, *, load: EngineLoad, now: float) -> None:
        """Put a request in line. Raises `QueueFullError` where its tokens are too many beside the others',
        `DeadlineUnattainableError` where it would begin too late."""
        place.demand = demand
        place.expected_answer = self.answers.expected(demand.max_tokens)
        if not self.tokens.has_room(place.tenant, place.held_tokens):
            raise self._full("tokens", self.tokens, place.tenant, place.held_tokens, load)
        place.due_s = now + _PATIENCE_S if demand.deadline_s is None else min(demand.deadline_s, now + _PATIENCE_S)
        if demand.deadline_s is not None:
            wait, left_s = self.wait_s(place, load=load), demand.deadline_s - now
            if wait is not None and _CERTAIN * wait > left_s:
                raise DeadlineUnattainableError(estimated_wait_s=wait, time_left_s=left_s)
        self.tokens.take(place.tenant, place.held_tokens)
        place.stage = Stage.WAITING
        self._lines.setdefault(demand.priority, Line()).add(place)

    def next(self, load: EngineLoad) -> Place | None:
        """The request that goes to the engine now, if one does; from then on it is in flight."""
        priority = max((priority for priority, line in self._lines.items() if line.num_requests), default=None)
        if priority is None or not self._may_go(priority, load):
            return None
        place = self._lines[priority].next()
        self._lines[priority].remove(place)
        place.stage = Stage.IN_FLIGHT
        self._in_flight[place] = None
        self._running[priority] += place.progress.live_choices
        self._lines[priority].charge(place.tenant, INPUT_TOKEN * place.demand.prompt_tokens)
        return place

    def note(self, place: Place, progress: Progress) -> None:
        """A completion in flight has come so far. Harmless once it is released."""
        if place.stage is not Stage.IN_FLIGHT:
            return
        priority, before = place.demand.priority, place.progress
        self._lines[priority].charge(place.tenant, OUTPUT_TOKEN * (progress.tokens - before.tokens))
        if progress.live_choices != before.live_choices:
            self._running[priority] += progress.live_choices - before.live_choices
        place.progress = progress

    def release(self, place: Place) -> None:
        """A request has ended, wherever it was: give back all that it holds. Harmless the second time."""
        stage, place.stage = place.stage, Stage.RELEASED
        if stage is Stage.RELEASED:
            return
        self.choices.give_back(place.tenant, place.num_choices)
        if stage is Stage.RESERVED:
            return
        self.tokens.give_back(place.tenant, place.held_tokens)
        if stage is Stage.WAITING:
            self._lines[place.demand.priority].remove(place)
            return
        del self._in_flight[place]
        self._running[place.demand.priority] -= place.progress.live_choices
        self.answers.observe(tokens=place.progress.tokens, ends=place.progress.own_ends)

    def position(self, place: Place) -> int:
        """About how many requests begin before a waiting one."""
        higher = sum(line.num_requests for priority, line in self._lines.items() if priority > place.demand.priority)
        return higher + round(self._lines[place.demand.priority].num_before(place))

    def wait_s(self, place: Place | None = None, *, load: EngineLoad) -> float | None:
        """Estimated seconds until a request begins that waits or is about to enter; None: not known yet.

        Without a place: one that enters now, of priority 0, behind all others of this priority.
        """
        if place is not None:
            return self._wait_s(place, load)
        # Every refusal asks for it: once for each step of the engine will do.
        if self._newest is None or self._newest[0] is not load or self._newest[1] != self.choices.held:
            self._newest = (load, self.choices.held, self._wait_s(None, load))
        return self._newest[2]

    def retry_after_s(self, *, load: EngineLoad) -> float:
        """When one who was refused may come again: when the newest of those who wait begins."""
        return min(max(self.wait_s(load=load) or 0.0, _LEAST_RETRY_S), _MOST_RETRY_S)

    def _wait_s(self, place: Place | None, load: EngineLoad) -> float | None:
        priority = 0 if place is None else place.demand.priority
        choices, prompt_tokens, answer_tokens = self._before(place, priority)
        slots = self._max_running
        if load.waiting and load.free_blocks < _SCARCE * load.total_blocks:
            slots = min(slots, max(1, load.running))
        peers = [other for other in self._in_flight if other.demand.priority >= priority]
        lefts = [left for other in peers for left in [_most_left(other)] * other.progress.live_choices]
        unbegun = [other for other in peers if not other.progress.tokens]
        expected = [other.expected_answer for other in peers]
        mean_next = answer_tokens / choices if choices else sum(expected) / len(expected) if expected else 1.0
        ahead = Ahead(
            left=tuple(islice(lefts, slots)),
            num_choices=ceil(choices) + max(0, len(lefts) - slots),
            prompt_tokens=prompt_tokens + sum(other.demand.prompt_tokens for other in unbegun),
            mean_answer=self.answers.mean,
            next_answer=max(1.0, mean_next),
        )
        estimate = wait_s(ahead, load, slots=slots)
        return None if estimate is None else estimate + self._delay_s()

    def _before(self, place: Place | None, priority: int) -> tuple[float, float, float]:
        """Choices, prompt tokens and answer tokens of what waits and begins before it."""
        choices = prompt_tokens = answer_tokens = 0.0
        for other, line in self._lines.items():
            share = 1.0 if other > priority or (other == priority and place is None) else 0.0
            if other == priority and place is not None and line.num_requests:
                share = min(1.0, line.num_before(place) / line.num_requests)
            choices += share * line.num_choices
            prompt_tokens += share * line.prompt_tokens
            answer_tokens += share * line.answer_tokens
        return choices, prompt_tokens, answer_tokens

    def _may_go(self, priority: int, load: EngineLoad) -> bool:
        """Whether the engine gets another request of a priority."""
        peers = sum(number for other, number in self._running.items() if other >= priority)
        in_flight = self.num_in_flight
        if peers >= self._max_running + self._look_ahead:
            return False
        # What the engine has, but cannot begin: it lacks memory, or has not come to it yet. Its figures may be old.
        return peers < in_flight or min(load.waiting, in_flight) <= self._look_ahead

    def _full(self, what: str, capacity: Capacity, tenant: Tenant, amount: int, load: EngineLoad) -> QueueFullError:
        fits = capacity.held + amount <= capacity.most
        share = f"; of what is left one caller may not have all, and you have {capacity.held_by(tenant)}"
        return QueueFullError(
            f"at most {capacity.most} {what} may run or wait at once; {capacity.held} do and this request has {amount}"
            f"{share if fits else ''}",
            retry_after_s=self.retry_after_s(load=load),
        )


def _most_left(place: Place) -> float:
    """Most tokens that a live choice may still get."""
    done = place.progress.tokens / place.num_choices
    return max(1.0, place.demand.max_tokens - done)
