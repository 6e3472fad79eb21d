"""Who comes into the queue, whose turn it is, and that every place is given back once."""

from collections import Counter
from contextlib import suppress
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tokenwire.chat.admission.capacity import Capacity
from tokenwire.chat.admission.place import Demand, Place, Progress, Stage
from tokenwire.chat.admission.queue import Queue
from tokenwire.chat.admission.tenant import Tenant
from tokenwire.engine.protocol import EngineLoad
from tokenwire.errors import DeadlineUnattainableError, QueueFullError

IDLE = EngineLoad()
ALICE, BOB = Tenant("alice"), Tenant("bob")


def queue(*, max_choices: int = 1000, max_tokens: int = 1_000_000, max_running: int = 1) -> Queue:
    return Queue(max_choices=max_choices, max_tokens=max_tokens, max_running=max_running)


def enter(
    queue: Queue,
    tenant: Tenant = ALICE,
    *,
    n: int = 1,
    priority: int = 0,
    deadline_s: float | None = None,
    now: float = 0.0,
    prompt_tokens: int = 10,
    max_tokens: int = 10,
    load: EngineLoad = IDLE,
) -> Place:
    place = queue.reserve(tenant, n, load=load)
    demand = Demand(prompt_tokens=prompt_tokens, max_tokens=max_tokens, priority=priority, deadline_s=deadline_s)
    queue.enter(place, demand, load=load, now=now)
    return place


def dispatch(queue: Queue) -> list[Place]:
    places = []
    while (place := queue.next(IDLE)) is not None:
        places.append(place)
    return places


def serve(queue: Queue, place: Place, *, tokens: int = 10) -> None:
    """The engine has generated so much, and the request ends."""
    queue.note(place, Progress(tokens=tokens * place.num_choices, live_choices=0, own_ends=place.num_choices))
    queue.release(place)


def fill(queue: Queue, tenants: list[Tenant]) -> int:
    """How many places they get, asking one after the other."""
    granted = 0
    for tenant in tenants:
        with suppress(QueueFullError):
            queue.reserve(tenant, 1, load=IDLE)
            granted += 1
    return granted


def order_of(queue: Queue, places: list[Place]) -> list[int]:
    """The order in which places are served, one after the other."""
    order = []
    while begun := dispatch(queue):
        for place in begun:
            order.append(places.index(place))
            serve(queue, place)
    return order


def test_a_full_queue_refuses_before_anything_is_known_of_a_request() -> None:
    full = queue(max_choices=4)
    for _ in range(4):
        full.reserve(ALICE, 1, load=IDLE)
    with pytest.raises(QueueFullError, match=r"at most 4 choices") as refused:
        full.reserve(ALICE, 1, load=IDLE)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0


def test_a_queue_full_of_tokens_refuses_and_lets_the_first_in_whatever_its_size() -> None:
    full = queue(max_tokens=100)
    first = enter(full, prompt_tokens=1000)
    place = full.reserve(BOB, 1, load=IDLE)
    with pytest.raises(QueueFullError, match="tokens"):
        full.enter(place, Demand(prompt_tokens=1, max_tokens=1), load=IDLE, now=0)
    full.release(first)
    full.enter(place, Demand(prompt_tokens=1, max_tokens=1), load=IDLE, now=0)
    assert place.stage is Stage.WAITING


def test_one_tenant_cannot_take_all_places() -> None:
    shared = queue(max_choices=1024)
    assert 900 < fill(shared, [ALICE] * 1024) < 1024
    shared.reserve(BOB, 1, load=IDLE)


def test_a_key_that_invents_users_cannot_take_all_places() -> None:
    shared = queue(max_choices=1024)
    assert fill(shared, [Tenant("alice", str(user)) for user in range(1024)]) < 1024
    shared.reserve(BOB, 1, load=IDLE)


def test_two_who_ask_without_end_come_to_hold_the_same() -> None:
    capacity = Capacity(340)
    for tenant in [ALICE] * 400 + [BOB] * 400:
        if capacity.has_room(tenant, 1):
            capacity.take(tenant, 1)
    for _ in range(400):  # of the places that become free both want one, the one who has been there longer first
        capacity.give_back(ALICE if capacity.held_by(ALICE) > 160 else BOB, 1)
        for tenant in (ALICE, BOB):
            if capacity.has_room(tenant, 1):
                capacity.take(tenant, 1)
    assert abs(capacity.held_by(ALICE) - capacity.held_by(BOB)) <= 20


def test_higher_priority_goes_first_and_within_one_tenant_earlier_arrival() -> None:
    line = queue()
    running = dispatch(line) or [enter(line)]
    dispatch(line)
    second = enter(line)
    dispatch(line)
    places = [enter(line, priority=priority) for priority in (0, -5, 0, -5, 0)]
    serve(line, running[0])
    serve(line, second)
    assert order_of(line, places) == [0, 2, 4, 1, 3]


def test_an_urgent_request_goes_at_once_and_not_more_of_them_than_can_run() -> None:
    busy = queue(max_running=2)
    for _ in range(5):
        enter(busy)
    assert len(dispatch(busy)) == 3
    for _ in range(5):
        enter(busy, priority=1)
    assert [place.demand.priority for place in dispatch(busy)] == [1, 1, 1]


def test_a_near_deadline_goes_first_among_a_tenants_own_requests_only() -> None:
    line = queue()
    running = [enter(line), enter(line, BOB)]
    dispatch(line)
    places = [enter(line, deadline_s=deadline) for deadline in (None, 1000.0, 10.0, 5.0)]
    serve(line, running[0])
    serve(line, running[1])
    assert order_of(line, places) == [3, 2, 0, 1]


def test_one_request_among_a_thousand_of_another_tenant_is_next() -> None:
    shared = queue(max_choices=2000, max_running=4)
    flood = [enter(shared) for _ in range(1000)]
    running = dispatch(shared)
    single = enter(shared, BOB)
    serve(shared, running[0])
    assert dispatch(shared) == [single]
    assert shared.num_waiting == len(flood) - len(running)


def test_users_of_one_key_do_not_starve_each_other() -> None:
    shared = queue(max_running=1)
    for _ in range(100):
        enter(shared, Tenant("alice", "loud"))
    running = dispatch(shared)
    quiet = enter(shared, Tenant("alice", "quiet"))
    serve(shared, running[0])
    assert dispatch(shared) == [quiet]


def test_a_key_with_many_users_gets_no_more_than_one_with_a_single_user() -> None:
    shared = queue(max_choices=10_000)
    for number in range(400):
        enter(shared, Tenant("alice", f"user-{number % 20}"))
        enter(shared, Tenant("bob", "only"))
    served: Counter[str] = Counter()
    for _ in range(200):
        for place in dispatch(shared):
            served[place.tenant.key_id] += 1
            serve(shared, place)
    assert abs(served["alice"] - served["bob"]) <= 2


def test_service_is_shared_by_tokens_and_not_by_requests() -> None:
    shared = queue(max_choices=10_000)
    for _ in range(600):
        enter(shared, ALICE, prompt_tokens=100, max_tokens=100)
        enter(shared, BOB, prompt_tokens=10, max_tokens=10)
    tokens: Counter[str] = Counter()
    for _ in range(300):
        for place in dispatch(shared):
            tokens[place.tenant.key_id] += place.demand.prompt_tokens + 2 * place.demand.max_tokens
            serve(shared, place, tokens=place.demand.max_tokens)
    # Neither gets ahead of the other by more than twice what runs at once (Sheng et al., theorem 4.4).
    assert abs(tokens["alice"] - tokens["bob"]) <= 2 * 2 * 300


def test_a_pause_earns_no_credit() -> None:
    shared = queue(max_choices=10_000)
    for _ in range(200):
        enter(shared, ALICE)
    for _ in range(50):
        for place in dispatch(shared):
            serve(shared, place)
    for _ in range(200):
        enter(shared, BOB)
    served: Counter[str] = Counter()
    for _ in range(20):
        for place in dispatch(shared):
            served[place.tenant.key_id] += 1
            serve(shared, place)
    assert served["alice"] >= served["bob"] - 4


def test_the_engine_gets_a_few_more_than_it_can_run_and_nothing_while_others_wait_in_it() -> None:
    line = queue(max_running=16)
    for _ in range(40):
        enter(line)
    assert len(dispatch(line)) == 18
    roomy = queue(max_running=16)
    running = [enter(roomy) for _ in range(12)]
    dispatch(roomy)
    enter(roomy)
    assert roomy.next(EngineLoad(running=2, waiting=10)) is None
    assert roomy.next(EngineLoad(running=12, waiting=0)) is not None
    assert roomy.num_in_flight == len(running) + 1


def test_figures_of_an_engine_that_has_nothing_hold_nobody_back() -> None:
    line = queue(max_running=16)
    enter(line)
    assert line.next(EngineLoad(waiting=50)) is not None


def test_a_choice_that_ends_makes_room_before_its_request_does() -> None:
    line = queue()
    several, next_one = enter(line, n=2), enter(line)
    assert dispatch(line) == [several]
    line.note(several, Progress(tokens=5, live_choices=1))
    assert dispatch(line) == [next_one]


def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_one_that_can_is_not() -> None:
    load = EngineLoad(decode_step_s=0.1, prefill_tokens_per_s=1000.0, running=1)
    busy = queue()
    for _ in range(10):
        enter(busy, max_tokens=100, load=load)
    dispatch(busy)
    place = busy.reserve(ALICE, 1, load=load)
    with pytest.raises(DeadlineUnattainableError) as refused:
        busy.enter(place, Demand(prompt_tokens=1, max_tokens=1, deadline_s=5.0), load=load, now=0.0)
    assert refused.value.time_left_s == 5.0
    busy.enter(place, Demand(prompt_tokens=1, max_tokens=1, deadline_s=500.0), load=load, now=0.0)
    unknown = enter(queue(), deadline_s=0.001)
    assert unknown.stage is Stage.WAITING


def test_while_the_engine_is_down_its_restart_counts_as_waiting() -> None:
    down = Queue(max_choices=10, max_tokens=100, max_running=1, delay_s=lambda: 5.0)
    assert down.wait_s(load=IDLE) == 5.0
    place = down.reserve(ALICE, 1, load=IDLE)
    with pytest.raises(DeadlineUnattainableError):
        down.enter(place, Demand(prompt_tokens=1, max_tokens=1, deadline_s=1.0), load=IDLE, now=0.0)


class QueueMachine(RuleBasedStateMachine):
    """Anything in any order: bounds hold, places come back, and what waits goes when there is room."""

    MAX_CHOICES, MAX_TOKENS, MAX_RUNNING = 24, 3000, 4

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(max_choices=self.MAX_CHOICES, max_tokens=self.MAX_TOKENS, max_running=self.MAX_RUNNING)
        self.places: list[Place] = []
        self.now = 0.0

    def at(self, stage: Stage) -> list[Place]:
        return [place for place in self.places if place.stage is stage]

    @rule(n=st.integers(1, 4), key=st.sampled_from("ab"), user=st.sampled_from("xyz"))
    def reserve(self, n: int, key: str, user: str) -> None:
        try:
            self.places.append(self.queue.reserve(Tenant(key, user), n, load=IDLE))
        except QueueFullError:
            assert self.queue.choices.held > 0

    @precondition(lambda self: self.at(Stage.RESERVED))
    @rule(
        pick=st.randoms(use_true_random=False),
        prompt=st.integers(1, 500),
        answer=st.integers(1, 500),
        priority=st.integers(-1, 1),
        slack=st.none() | st.floats(0, 100),
    )
    def enter(self, pick: Random, prompt: int, answer: int, priority: int, slack: float | None) -> None:
        place = pick.choice(self.at(Stage.RESERVED))
        self.now += 0.1
        deadline_s = None if slack is None else self.now + slack
        demand = Demand(prompt_tokens=prompt, max_tokens=answer, priority=priority, deadline_s=deadline_s)
        try:
            self.queue.enter(place, demand, load=IDLE, now=self.now)
        except QueueFullError:
            assert self.queue.tokens.held > 0
            self.queue.release(place)

    @rule()
    def next(self) -> None:
        waiting = self.at(Stage.WAITING)
        place = self.queue.next(IDLE)
        if place is not None:
            assert place.demand.priority == max(other.demand.priority for other in waiting)
        elif waiting:
            top = max(other.demand.priority for other in waiting)
            peers = sum(p.progress.live_choices for p in self.at(Stage.IN_FLIGHT) if p.demand.priority >= top)
            assert peers > self.MAX_RUNNING

    @precondition(lambda self: self.at(Stage.IN_FLIGHT))
    @rule(pick=st.randoms(use_true_random=False), tokens=st.integers(0, 50))
    def note(self, pick: Random, tokens: int) -> None:
        place = pick.choice(self.at(Stage.IN_FLIGHT))
        done = place.progress
        live = pick.randint(0, done.live_choices)
        ends = done.own_ends + done.live_choices - live
        self.queue.note(place, Progress(tokens=done.tokens + tokens, live_choices=live, own_ends=ends))

    @precondition(lambda self: self.places)
    @rule(pick=st.randoms(use_true_random=False))
    def release(self, pick: Random) -> None:
        self.queue.release(pick.choice(self.places))

    @invariant()
    def what_is_held_is_what_is_there(self) -> None:
        live = [place for place in self.places if place.stage is not Stage.RELEASED]
        entered = [place for place in live if place.stage is not Stage.RESERVED]
        assert self.queue.choices.held == sum(place.num_choices for place in live) <= self.MAX_CHOICES
        assert self.queue.tokens.held == sum(place.held_tokens for place in entered)
        assert self.queue.num_waiting == sum(place.num_choices for place in self.at(Stage.WAITING))
        assert self.queue.num_in_flight == sum(place.progress.live_choices for place in self.at(Stage.IN_FLIGHT))

    def teardown(self) -> None:
        waiting = len(self.at(Stage.WAITING))
        for place in self.at(Stage.IN_FLIGHT):
            self.queue.release(place)
        begun = 0
        while (chosen := self.queue.next(IDLE)) is not None:  # nobody is left over
            begun += 1
            self.queue.release(chosen)
        assert begun == waiting
        for place in self.places:
            self.queue.release(place)
        assert (self.queue.choices.held, self.queue.tokens.held, self.queue.num_in_flight) == (0, 0, 0)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueueMachine = QueueMachine.TestCase
