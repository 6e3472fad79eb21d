"""What the front end sustains: tokens a second over streams that all run, told apart from what it takes to open them.

python tests/bench/edge_sustained.py [--streams 256] [--rates 0,400,800] [--kinds http2,grpc,client,rest,gateway]
    [--seconds 10]

Front end, scripted engine and reader are a process each (`edge.py` says how). All streams are asked for at once; once
each has had text, the clock starts. A rate is tokens a second that the engine gives each stream, one a step; 0: as many
as it can. `gateway` is REST by a gateway, one more process. `front_tokens_per_core_s`: what the front end could do with
a core. Added to a token: as in `edge.py`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tokenwire.cli.bench.figures import Percentiles, percentiles

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from bench.edge_front_end import Edge, cpu_s, front_end, gateway, line, scripted_pace  # noqa: E402
from support.scripted_engine import Journal  # noqa: E402


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One load."""

    kind: str
    """As `edge_streams.py` has it, or `gateway`."""
    streams: int
    rate: float
    """Tokens a second that each stream is given; 0: as many as the engine can."""
    seconds: float
    tokens_per_step: int = 1

    @property
    def step_s(self) -> float:
        """Time from step to step of the engine."""
        return self.tokens_per_step / self.rate if self.rate else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run. Times in ms, processor time in µs, of the time in which all streams ran, if nothing else is said."""

    tokens_per_s: float
    messages_per_s: float
    tokens_per_message: float
    front_us_per_token: float
    """Processor time of the front end, all threads, user and system."""
    front_us_per_message: float
    front_tokens_per_core_s: float
    gateway_us_per_message: float
    """Likewise of the gateway; 0 without one."""
    front_cores: float
    """Processor time over wall time."""
    gateway_cores: float
    engine_cores: float
    load_cores: float
    added_ms: Percentiles | None
    """From the engine's sending of a token to the reader's receipt of it; the last of each message."""
    first_text_ms: Percentiles | None
    """From the request, sent with all others at once."""
    setup_us_per_call: float
    """Processor time of the front end until all streams ran, over their number; what it wrote to them is in it."""


async def run(scenario: Scenario, folder: Path) -> Figures:
    """Start everything, measure, end everything."""
    file = folder / "seen"
    pace = scripted_pace(folder, scenario.step_s, tokens_per_step=scenario.tokens_per_step)
    async with front_end(folder, pace) as edge:
        setup_s, usage_s = await _load(edge, scenario, file)
    seen = json.loads(file.read_text(encoding="utf-8"))
    return _figures(scenario, seen, Journal.read(edge.journal), setup_s, usage_s)


async def _load(edge: Edge, scenario: Scenario, file: Path) -> tuple[float, list[float]]:
    """Processor time of the front end for opening the streams; of engine, reader, front end, gateway while all run."""
    async with _entrance(edge, scenario.kind) as (kind, target, servers):
        arguments = [kind, target, scenario.streams, scenario.seconds, file]
        load = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "edge_streams.py"), *map(str, arguments), stdin=PIPE, stdout=PIPE
        )
        assert load.stdin is not None
        assert await line(load) == "ready"
        processes = [edge.engine, psutil.Process(load.pid), *servers]
        before_s = cpu_s(edge.server)
        load.stdin.write(b"go\n")
        assert await line(load) == "running"
        began_s = [cpu_s(process) for process in processes]
        assert await line(load) == "done"
        ended_s = [cpu_s(process) for process in processes]
        assert await asyncio.wait_for(load.wait(), 300) == 0
    usage_s = [after - before for after, before in zip(ended_s, began_s, strict=True)]
    return began_s[2] - before_s, usage_s if len(usage_s) == 4 else [*usage_s, 0.0]


@asynccontextmanager
async def _entrance(edge: Edge, kind: str) -> AsyncIterator[tuple[str, str, list[psutil.Process]]]:
    """The kind of reader, where it reads, and the processes that serve it: the front end first."""
    if kind == "gateway":
        async with gateway(edge) as (process, target):
            yield "rest", target, [edge.server, process]
    else:
        yield kind, edge.ports["rest" if kind == "rest" else "grpc"], [edge.server]


def _figures(
    scenario: Scenario, seen: dict[str, Any], journal: Journal, setup_s: float, usage_s: Sequence[float]
) -> Figures:
    added, first, tokens, messages = [], [], 0, 0
    wall_s = seen["ended_s"] - seen["began_s"]
    for stream in seen["streams"]:
        _, first_frame = journal.requests[stream["id"]]
        first.append(stream["texts"][0][0] - stream["sent_s"])
        position = 0
        for when_s, count in stream["texts"]:
            position += count
            if seen["began_s"] <= when_s <= seen["ended_s"]:
                tokens += count
                messages += 1
                sent_s = journal.frames_s[first_frame + (position - 1) // scenario.tokens_per_step]
                added.append(when_s - sent_s)
    engine_s, load_s, front_s, gateway_s = usage_s
    return Figures(
        tokens_per_s=tokens / wall_s,
        messages_per_s=messages / wall_s,
        tokens_per_message=tokens / messages,
        front_us_per_token=front_s / tokens * 1e6,
        front_us_per_message=front_s / messages * 1e6,
        front_tokens_per_core_s=tokens / front_s,
        gateway_us_per_message=gateway_s / messages * 1e6,
        front_cores=front_s / wall_s,
        gateway_cores=gateway_s / wall_s,
        engine_cores=engine_s / wall_s,
        load_cores=load_s / wall_s,
        added_ms=percentiles([each * 1000 for each in added]),
        first_text_ms=percentiles([each * 1000 for each in first]),
        setup_us_per_call=setup_s / scenario.streams * 1e6,
    )


HEAD = (
    "| reader | streams | asked tok/s | tok/s | tokens/message | messages/s | front end µs/token | µs/message | "
    "gateway µs/message | tok/s a core of the front end | cores: front end, gateway, engine, reader | "
    "added p50 / p99, ms | first text p50 / p99, ms | set-up µs/call |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(scenario: Scenario, figures: Figures) -> str:
    """A row of a Markdown table."""
    asked = f"{scenario.streams * scenario.rate:,.0f}" if scenario.rate else "all"
    if scenario.tokens_per_step > 1:
        asked += f" ({scenario.tokens_per_step} a step)"
    cells = [
        scenario.kind,
        str(scenario.streams),
        asked,
        f"{figures.tokens_per_s:,.0f}",
        f"{figures.tokens_per_message:.1f}",
        f"{figures.messages_per_s:,.0f}",
        f"{figures.front_us_per_token:.1f}",
        f"{figures.front_us_per_message:.0f}",
        f"{figures.gateway_us_per_message:.0f}" if figures.gateway_cores else "–",
        f"{figures.front_tokens_per_core_s:,.0f}",
        f"{figures.front_cores:.2f}, {figures.gateway_cores:.2f}, {figures.engine_cores:.2f}, {figures.load_cores:.2f}",
        _percentiles(figures.added_ms),
        _percentiles(figures.first_text_ms),
        f"{figures.setup_us_per_call:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _percentiles(found: Percentiles | None) -> str:
    return "" if found is None else f"{found.p50:.1f} / {found.p99:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="256")
    parser.add_argument("--rates", default="0,400,800", help="tokens/s a stream; 0: as many as the engine can")
    parser.add_argument("--kinds", default="http2,grpc,client,rest")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tokens-per-step", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    scenarios = [
        Scenario(
            kind=kind,
            streams=int(streams),
            rate=float(rate),
            seconds=arguments.seconds,
            tokens_per_step=arguments.tokens_per_step,
        )
        for kind in arguments.kinds.split(",")
        for streams in arguments.streams.split(",")
        for rate in arguments.rates.split(",")
    ]
    print(HEAD, flush=True)
    runs = []
    for scenario in scenarios * arguments.rounds:
        with tempfile.TemporaryDirectory() as folder:
            figures = asyncio.run(run(scenario, Path(folder)))
        print(row(scenario, figures), flush=True)
        runs.append({**asdict(scenario), **asdict(figures)})
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
