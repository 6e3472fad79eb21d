"""Runs of many random calls: what came of them, which were wrong, and what the server held before and after."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz.calls import Call, Caller, random_call
from fuzz.http_calls import HttpCaller, judge_http
from fuzz.http_inputs import STREAM, random_http_call
from fuzz.methods import METHODS
from fuzz.minimise import minimised
from fuzz.oracle import DefectError, judge
from fuzz.target import Census, Target

FOUND = Path(__file__).parent / "found"
"""Inputs that failed once, by RPC. They are run again by the tests."""

BATCH = 32
"""Calls in flight at once."""


@dataclass(slots=True)
class Report:
    """What a run came to."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (RPC or route, status)."""
    defects: dict[str, str] = field(default_factory=dict)
    """What was wrong → the first input that showed it."""
    seconds: float = 0.0
    censuses: list[Census] = field(default_factory=list)
    """Before, after each quarter of the run, and when all has settled."""

    @property
    def num_calls(self) -> int:
        return self.outcomes.total()


def fuzz_contract(target: Target, *, seed: int, num_calls: int) -> Report:
    """Random RPCs. A failing input is made small and saved."""
    report, rng, caller = Report(), Random(seed), Caller(target.grpc)

    def batch() -> None:
        for call, outcome in caller.make([random_call(rng) for _ in range(BATCH)]):
            name = call.method.path.removeprefix("/")
            try:
                report.outcomes[name, judge(call, outcome)] += 1
            except DefectError as error:
                report.outcomes[name, "DEFECT"] += 1
                report.defects.setdefault(f"{name}: {error}", _saved(call, caller))

    try:
        _run(report, target, num_calls, batch)
    finally:
        caller.close()
    return report


def fuzz_http(target: Target, *, seed: int, num_calls: int) -> Report:
    """Random HTTP requests."""
    report, rng, caller = Report(), Random(seed), HttpCaller(target.http_port)
    caller.make([STREAM])  # the first one starts a task that stays

    def batch() -> None:
        for call, outcome in caller.make([random_http_call(rng) for _ in range(BATCH)]):
            try:
                report.outcomes["HTTP", judge_http(call, outcome)] += 1
            except DefectError as error:
                report.outcomes["HTTP", "DEFECT"] += 1
                report.defects.setdefault(f"HTTP: {error}", repr(call.data[:2000]))

    try:
        _run(report, target, num_calls, batch)
    finally:
        caller.close()
    return report


def replay(target: Target, path: Path) -> str:
    """The status of a call with a saved input. Raises `DefectError`."""
    method = next(method for method in METHODS if method.path == "/" + path.name.rsplit("-", 1)[0].replace(",", "/"))
    caller = Caller(target.grpc)
    try:
        ((call, outcome),) = caller.make([_of(method.path, path.read_bytes())])
        return judge(call, outcome)
    finally:
        caller.close()


def _run(report: Report, target: Target, num_calls: int, batch: Callable[[], None]) -> None:
    for _ in range(4):
        batch()  # what the first calls load stays
    report.censuses.append(target.at_rest())
    num_batches = -(-num_calls // BATCH)
    start_s = time.monotonic()
    for number in range(num_batches):
        batch()
        if (number + 1) % max(num_batches // 4, 1) == 0:
            report.censuses.append(target.census())
    report.seconds = time.monotonic() - start_s
    report.censuses.append(target.settled(report.censuses[0]))


def _of(path: str, data: bytes) -> Call:
    method = next(method for method in METHODS if method.path == path)
    return Call(method, data, stop_after=1 if method.is_endless else None)


def _saved(call: Call, caller: Caller) -> str:
    """The name of the file with the input, made small if it fails by itself."""

    def fails(data: bytes) -> bool:
        try:
            for made, outcome in caller.make([_of(call.method.path, data)]):
                judge(made, outcome)
        except DefectError:
            return True
        return False

    data = minimised(call.data, call.method.request, fails) if fails(call.data) else call.data
    FOUND.mkdir(exist_ok=True)
    name = call.method.path.removeprefix("/").replace("/", ",")
    path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path.name
