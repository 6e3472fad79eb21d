"""Who is taken up after deaths, and who is blamed for them: an engine that dies of some requests, step by step."""

from dataclasses import dataclass
from random import Random

import pytest

from tokenwire.engine.quarantine import find_culprit, next_up
from tokenwire.engine.restarts import FaultPolicy, Restarts


@dataclass
class Request:
    name: str
    is_deadly: bool = False
    is_sent: bool = False
    deaths: int = 0


@dataclass
class Outcome:
    failed: list[str]
    num_deaths: int


def serve(requests: list[Request], *, arrivals: list[Request], random: Random) -> Outcome:
    """Take all up until each has given something or has failed. Deadly ones kill when their turn comes."""
    live, outcome = list(requests), Outcome([], 0)
    while any(each.is_deadly or not each.is_sent or each.deaths for each in live) or arrivals:
        if arrivals and random.random() < 0.5:
            live.append(arrivals.pop())
        for each in next_up(live):
            each.is_sent = True
        sent = [each for each in live if each.is_sent]
        if not sent:
            continue
        stepped = random.choice(sent)
        if not stepped.is_deadly:
            stepped.deaths = 0
            continue
        outcome.num_deaths += 1
        culprit = find_culprit(live)
        if culprit is not None:
            live.remove(culprit)
            outcome.failed.append(culprit.name)
    return outcome


@pytest.mark.parametrize("seed", range(30))
def test_deadly_requests_fail_and_no_others(seed: int) -> None:
    random = Random(seed)
    requests = [Request(f"{number}", is_deadly=number in (1, 4)) for number in range(8)]
    arrivals = [Request(f"new {number}") for number in range(3)]
    outcome = serve(requests, arrivals=arrivals, random=random)
    assert sorted(outcome.failed) == ["1", "4"]
    assert outcome.num_deaths <= 6


def test_one_that_was_alone_in_two_deaths_fails() -> None:
    deadly = Request("deadly", is_sent=True)
    assert find_culprit([deadly]) is None
    assert next_up([deadly]) == [deadly]
    deadly.is_sent = True
    assert find_culprit([deadly]) is deadly


def test_after_one_death_all_are_taken_up_at_once() -> None:
    live = [Request("a", is_sent=True), Request("b", is_sent=True), Request("new")]
    assert find_culprit(live) is None
    assert next_up(live) == live


def test_suspects_come_one_by_one_behind_those_that_are_none() -> None:
    suspects = [Request("a", deaths=2), Request("b", deaths=2)]
    bystander, new = Request("c", deaths=1), Request("d")
    live = [*suspects, bystander, new]
    order = []
    while next_up(live):
        (taken,) = next_up(live)
        taken.is_sent = True
        assert next_up(live) == []  # until it has given something
        taken.deaths = 0
        order.append(taken)
    assert order == [bystander, *suspects, new]


def test_a_death_in_a_trial_is_that_of_the_suspect() -> None:
    suspect, waiting = Request("a", is_sent=True, deaths=2), Request("b", deaths=2)
    cleared = Request("c", is_sent=True)
    assert find_culprit([cleared, suspect, waiting]) is suspect
    assert (cleared.deaths, waiting.deaths) == (1, 2)


def test_pauses_double_up_to_the_longest_and_progress_ends_them() -> None:
    restarts = Restarts(FaultPolicy(crash_loop_deaths=8))
    pauses = []
    for _ in range(8):
        restarts.note_death()
        pauses.append(restarts.pause_s)
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
    assert restarts.is_crash_loop
    restarts.note_progress()
    assert (restarts.is_crash_loop, restarts.pause_s) == (False, 0)
