"""Ten times the load that a server can carry, for two minutes: goodput, refusals, losses, leaks.

PYTHONPATH=tests python -m chaos.overload [--scripted] [--seconds 120] [--times 10] [--json FILE]

First as many callers as the engine runs, each with one request at a time: the peak. Then requests come at ten times the
rate of that, whatever becomes of them, and nobody waits before trying again. Then the peak once more, for machines
change their speed. Prints a Markdown table; ends with 1 where something accepted was lost or something is left behind.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import grpc
import psutil

from chaos.overload_load import QUIET, Load, Seen
from support.serve_process import ServeProcess
from support.tiny import make_tokenizer
from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.demo import fetch_demo_model
from tokenwire.v1.operations_pb2 import GetLoadRequest
from tokenwire.v1.operations_pb2 import Load as ServerLoad
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.operations_pb2_grpc import OperationsServiceAsyncStub

IDLE_TIMEOUT_S = 60.0
LEAST_WAIT_S = 1.0
"""Shorter waits say little of the estimate."""
STEP_S = 0.02
"""Of the scripted engine."""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Start a server and run all phases."""
    with tempfile.TemporaryDirectory() as folder:
        serving = _scripted(Path(folder), arguments) if arguments.scripted else _real(Path(folder), arguments)
        with serving as (target, model, pid):
            return asyncio.run(_phases(target, model, psutil.Process(pid), arguments))


async def _phases(target: str, model: str, process: psutil.Process, arguments: argparse.Namespace) -> dict[str, Any]:
    async with _loads(target) as stub:
        load = Load(target, model=model, tokens=arguments.tokens)
        callers, seconds = arguments.max_running, arguments.seconds
        await load.steady(callers=callers, seconds=seconds / 12)  # warm
        before = await _idle(stub, process)
        _, first_peak = await load.steady(callers=callers, seconds=seconds / 2)
        flood, goodput = await load.flood(per_s=arguments.times * first_peak / arguments.tokens, seconds=seconds)
        _, second_peak = await load.steady(callers=callers, seconds=seconds / 2)
        after = await _idle(stub, process)
        await load.close()
    waits = [(estimate, wait_s) for estimate, wait_s in flood.estimates if wait_s > LEAST_WAIT_S]
    return {
        "peak_tokens_per_s": [first_peak, second_peak],
        "goodput_tokens_per_s": goodput,
        "share_of_peak": goodput / ((first_peak + second_peak) / 2),
        "requests": sum(flood.outcomes.values()),
        "outcomes": dict(flood.outcomes),
        "lost": flood.lost,
        "refusal_ms": _percentiles(flood.refused_s),
        "first_token_s": {name: _percentiles(times, scale=1) for name, times in _by_kind(flood).items()},
        "estimate_over_wait": _percentiles([estimate / wait for estimate, wait in waits], scale=1),
        "estimates": len(waits),
        "before": before,
        "after": after,
    }


def _by_kind(seen: Seen) -> dict[str, list[float]]:
    """The quiet caller's times, and those of all others."""
    others = [time_s for user, times in seen.first_token_s.items() if user != QUIET for time_s in times]
    return {"quiet": seen.first_token_s.get(QUIET, []), "others": others}


@contextmanager
def _real(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """The demo model in a server process."""
    model = "smollm2-135m-instruct"
    options = {
        "--model": fetch_demo_model(default_cache_dir()),
        "--served-model-name": model,
        "--port": 0,
        "--http-port": 0,
        "--max-running": arguments.max_running,
        "--max-queue": arguments.max_queue,
        "--heartbeat-s": 1,
        "--log-level": "warning",
    }
    words = [str(word) for option in options.items() for word in option]
    with ServeProcess(*words, log=folder / "log") as server:
        server.wait_until_ready()
        yield server.target, model, server.pid


@contextmanager
def _scripted(folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    """The front end over an engine that computes nothing."""
    make_tokenizer(folder)
    words = [str(folder), str(arguments.max_running), str(arguments.max_queue), str(STEP_S)]
    command = [sys.executable, "-m", "chaos.overload_server", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"127.0.0.1:{process.stdout.readline().strip()}", "scripted", process.pid
        process.stdin.close()


@asynccontextmanager
async def _loads(target: str) -> "AsyncIterator[OperationsServiceAsyncStub]":
    async with grpc.aio.insecure_channel(target) as channel:
        yield OperationsServiceStub(channel)


async def _idle(stub: "OperationsServiceAsyncStub", process: psutil.Process) -> dict[str, float]:
    """What the server holds once nothing is live."""
    async with asyncio.timeout(IDLE_TIMEOUT_S):
        while True:
            load: ServerLoad = await stub.GetLoad(GetLoadRequest(), timeout=60)
            if not (load.running_choices or load.waiting_choices):
                break
            await asyncio.sleep(0.5)
    return {
        "queued_tokens": load.queued_tokens,
        "kv_cache_usage": load.kv_cache_usage,
        "memory_mib": process.memory_info().rss / 2**20,
        "file_descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


def _percentiles(values: list[float], *, scale: float = 1000) -> dict[str, float]:
    """By nearest rank."""
    ordered = sorted(values)
    if not ordered:
        return {}
    at = {"p50": median(ordered), "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], "most": ordered[-1]}
    return {name: round(value * scale, 3) for name, value in at.items()}


def _table(result: dict[str, Any], arguments: argparse.Namespace) -> str:
    def shown(percentiles: dict[str, float], unit: str) -> str:
        return " / ".join(f"{value:g}" for value in percentiles.values()) + f" {unit}" if percentiles else "–"

    before, after = result["before"], result["after"]
    first, second = result["peak_tokens_per_s"]
    rows = {
        f"peak, {arguments.max_running} callers": f"{first:.1f}, then {second:.1f} tok/s",
        f"goodput at {arguments.times:g} times that rate": f"{result['goodput_tokens_per_s']:.1f} tok/s",
        "share of the peak": f"{result['share_of_peak']:.1%}",
        "requests": f"{result['requests']}: " + ", ".join(f"{n} {name}" for name, n in result["outcomes"].items()),
        "accepted and lost": result["lost"],
        "a refusal, p50 / p99 / most": shown(result["refusal_ms"], "ms"),
        "first token, one quiet user": shown(result["first_token_s"]["quiet"], "s"),
        "first token, the others": shown(result["first_token_s"]["others"], "s"),
        f"estimate over wait ({result['estimates']})": shown(result["estimate_over_wait"], ""),
        "tokens held, before and after": f"{before['queued_tokens']:g}, {after['queued_tokens']:g}",
        "KV cache held": f"{before['kv_cache_usage']:.1%}, {after['kv_cache_usage']:.1%}",
        "front end's memory": f"{before['memory_mib']:.0f}, {after['memory_mib']:.0f} MiB",
        "file descriptors": f"{before['file_descriptors']:g}, {after['file_descriptors']:g}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripted", action="store_true", help="an engine that computes nothing, 50 steps a second")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the overload; each peak takes half of it")
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--max-running", type=int, default=16)
    parser.add_argument("--max-queue", type=int, default=64)
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()
    result = measure(arguments)
    result["circumstances"] = {**circumstances(sys.argv), "load average at the end": os.getloadavg()}
    print(_table(result, arguments))
    print(f"\n{result['circumstances']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    leaks = result["after"]["queued_tokens"] or result["after"]["kv_cache_usage"]
    return 1 if result["lost"] or leaks else 0


if __name__ == "__main__":
    sys.exit(main())
