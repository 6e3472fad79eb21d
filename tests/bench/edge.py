"""What the front end costs: a scripted engine behind it, a load generator before it, each in a process of its own.

python tests/bench/edge.py [latency|memory]... [--rounds 3] [--requests 100000] [--json FILE]

`latency`: 40 tokens/s a stream at 1, 32 and 256 streams, in lock step as a real engine gives them, over gRPC by plain
stubs, by the client library, and over REST. Added to a token: from the engine's sending of its frame to the client's
receipt. Added to the first token: from the client's sending of the request to the engine's receipt of it, and the way
back. `memory`: short requests, and the front end's memory meanwhile.
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import psutil

from tokenwire.cli.bench.figures import Percentiles, percentiles

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from bench.edge_front_end import WAIT_S, Edge, cpu_s, front_end, line, scripted_pace  # noqa: E402
from support.scripted_engine import Journal  # noqa: E402

LOCK_STEP_S = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One load."""

    name: str
    kind: str
    """As `edge_load.py` has it."""
    streams: int
    step_s: float
    requests: int
    tokens: int
    """In each answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run of a scenario. Times are in ms, processor time in µs."""

    tokens_per_s: float
    messages_per_s: float
    tokens_per_message: float
    """Of the messages with text."""
    front_us_per_token: float
    """Processor time of the front end, all threads, user and system."""
    front_us_per_message: float
    front_cores: float
    """Processor time over wall time."""
    engine_cores: float
    load_cores: float
    added_ms: Percentiles | None
    first_token_ms: Percentiles | None
    """Of requests that came one by one."""
    memory_mib: list[float]
    """Resident, of the front end: at the start, at the end, and evenly between."""


async def run(scenario: Scenario, folder: Path) -> Figures:
    """Start everything, measure, end everything."""
    pace = scripted_pace(folder, scenario.step_s)
    answers_file = folder / "answers"
    async with front_end(folder, pace) as edge:
        load, usage, memory_mib = await _load(edge, scenario, answers_file)
    seen = json.loads(answers_file.read_text(encoding="utf-8"))
    return _figures(scenario, seen, Journal.read(edge.journal), load, usage, memory_mib)


async def _load(edge: Edge, scenario: Scenario, file: Path) -> tuple[float, list[float], list[float]]:
    """Wall time, processor times of front end, engine and load generator, and the front end's memory."""
    arguments = [scenario.kind, edge.ports[scenario.kind], scenario.streams, scenario.requests, scenario.tokens, file]
    load = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "edge_load.py"), *map(str, arguments), stdin=PIPE, stdout=PIPE
    )
    assert load.stdin is not None
    assert await line(load) == "ready"
    processes = [edge.server, edge.engine, psutil.Process(load.pid)]
    loop = asyncio.get_running_loop()
    before, began_s = [cpu_s(process) for process in processes], loop.time()
    memory = [edge.server.memory_info().rss]
    load.stdin.write(b"go\n")
    done = asyncio.create_task(line(load))
    while not done.done():
        await asyncio.wait([done], timeout=0.5)
        memory.append(edge.server.memory_info().rss)
    assert done.result() == "done", "the load generator failed"
    usage = [cpu_s(process) - earlier_s for process, earlier_s in zip(processes, before, strict=True)]
    wall_s = loop.time() - began_s
    await asyncio.wait_for(load.wait(), WAIT_S)
    return wall_s, usage, [resident / 2**20 for resident in memory]


def _figures(
    scenario: Scenario,
    seen: dict[str, Any],
    journal: Journal,
    wall_s: float,
    usage: Sequence[float],
    memory_mib: list[float],
) -> Figures:
    added, first, tokens, messages, texts = [], [], 0, 0, 0
    for answer in seen["answers"]:
        received_s, first_frame = journal.requests[answer["id"]]
        arrivals = answer["arrivals"]
        tokens += arrivals[-1][1]
        messages += answer["num_messages"]
        texts += len(arrivals)
        for (_, before), (when_s, count) in pairwise([(0.0, 0), *arrivals]):
            added += [when_s - journal.frames_s[first_frame + position] for position in range(before, count)]
        if scenario.streams == 1 or not answer["is_first"]:
            way_back_s = arrivals[0][0] - journal.frames_s[first_frame]
            first.append(received_s - answer["sent_s"] + way_back_s)
    front_s, engine_s, load_s = usage
    return Figures(
        tokens_per_s=tokens / seen["wall_s"],
        messages_per_s=messages / seen["wall_s"],
        tokens_per_message=tokens / texts,
        front_us_per_token=front_s / tokens * 1e6,
        front_us_per_message=front_s / messages * 1e6,
        front_cores=front_s / wall_s,
        engine_cores=engine_s / wall_s,
        load_cores=load_s / wall_s,
        added_ms=_in_ms(added),
        first_token_ms=_in_ms(first),
        memory_mib=memory_mib,
    )


def _in_ms(samples_s: Sequence[float]) -> Percentiles | None:
    return percentiles([sample * 1000 for sample in samples_s])


def scenarios(names: Sequence[str], kinds: Sequence[str], *, requests: int) -> list[Scenario]:
    """Those of the names."""
    lasting_s = 8
    chosen = []
    for kind in kinds:
        if "latency" in names:
            chosen += [
                Scenario(
                    name="latency",
                    kind=kind,
                    streams=streams,
                    step_s=LOCK_STEP_S,
                    requests=streams * 4,
                    tokens=int(lasting_s / 4 / LOCK_STEP_S),
                )
                for streams in (1, 32, 256)
            ]
    if "memory" in names:
        chosen.append(Scenario(name="memory", kind="grpc", streams=64, step_s=0.001, requests=requests, tokens=8))
    return chosen


def table(measured: Sequence[tuple[Scenario, Sequence[Figures]]]) -> str:
    """The figures as a Markdown table: medians of the rounds, least and most in brackets."""
    lines = [
        "| load | reader | streams | asked tok/s | tok/s | messages/s | tokens/message | front end µs/token | "
        "µs/message | cores: front end, engine, reader | added p50 / p99, ms | to first token p50 / p99, ms |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for scenario, rounds in measured:
        asked = f"{scenario.streams / scenario.step_s:.0f}" if scenario.step_s else "all"
        cores = ", ".join(_median(rounds, f"{who}_cores", 2) for who in ("front", "engine", "load"))
        cells = [
            scenario.name,
            scenario.kind,
            str(scenario.streams),
            asked,
            _spread(rounds, "tokens_per_s", 0),
            _median(rounds, "messages_per_s", 0),
            _median(rounds, "tokens_per_message", 1),
            _spread(rounds, "front_us_per_token", 1),
            _median(rounds, "front_us_per_message", 1),
            cores,
            _percentiles(rounds, "added_ms"),
            _percentiles(rounds, "first_token_ms"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(rounds: Sequence[Figures], name: str, digits: int) -> str:
    return f"{statistics.median(getattr(figures, name) for figures in rounds):.{digits}f}"


def _spread(rounds: Sequence[Figures], name: str, digits: int) -> str:
    values = [getattr(figures, name) for figures in rounds]
    return f"{_median(rounds, name, digits)} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _percentiles(rounds: Sequence[Figures], name: str) -> str:
    found = [percent for figures in rounds if (percent := getattr(figures, name)) is not None]
    return " / ".join(f"{statistics.median(getattr(each, p) for each in found):.2f}" for p in ("p50", "p99"))


def memory_line(scenario: Scenario, figures: Figures) -> str:
    """How memory went: ten samples, evenly spread, and the slope of the second half."""
    samples = figures.memory_mib
    shown = [samples[round(i * (len(samples) - 1) / 9)] for i in range(10)]
    half = samples[len(samples) // 2 :]
    slope = statistics.linear_regression(range(len(half)), half).slope * len(samples) / scenario.requests
    return (
        f"memory over {scenario.requests} requests, MiB: {', '.join(f'{sample:.1f}' for sample in shown)}; "
        f"second half {slope * 2**20:+.0f} bytes a request"
    )


def _circumstances() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "commit": commit.stdout.strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["latency", "memory"])
    parser.add_argument("--kinds", default="grpc,client,rest")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100_000, help="of the memory run")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    chosen = scenarios(arguments.names, arguments.kinds.split(","), requests=arguments.requests)
    measured: list[tuple[Scenario, list[Figures]]] = [(scenario, []) for scenario in chosen]
    for _ in range(arguments.rounds):
        for scenario, rounds in measured:
            if scenario.name == "memory" and rounds:
                continue
            with tempfile.TemporaryDirectory() as folder:
                rounds.append(asyncio.run(run(scenario, Path(folder))))
            print(table([(scenario, rounds[-1:])]).splitlines()[-1], flush=True)
    circumstances = _circumstances()
    print(table(measured), circumstances, sep="\n\n")
    for scenario, rounds in measured:
        if scenario.name == "memory":
            print(memory_line(scenario, rounds[0]))
    if arguments.json:
        figures = [{**asdict(scenario), "rounds": [asdict(each) for each in rounds]} for scenario, rounds in measured]
        arguments.json.write_text(json.dumps({**circumstances, "runs": figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
