"""Mixed load on a real server for half an hour: its memory, file descriptors and blocks must stay what they are.

make soak     or     PYTHONPATH=tests python -m chaos.soak [--minutes 30] [--kill-every-s 60] [--json FILE]

Streams, cancelled and slow ones, resumed ones, repeated ones, REST streams that break off, bad input; now and then the
engine process is killed. Every answer is compared with the one that the quiet server gave. Prints Markdown tables and
ends with 1 where an answer differs, a call fails, or something has grown.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from chaos.soak_cases import answered, requests
from chaos.soak_load import SoakLoad
from support.serve_process import ServeProcess
from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.demo import fetch_demo_model
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.operations_pb2 import GetLoadRequest, Load, ServerState
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from tokenwire.v1.operations_pb2_grpc import OperationsServiceAsyncStub

MODEL = "smollm2-135m-instruct"
NUM_CASES = 32
SAMPLE_S = 10.0
IDLE_TIMEOUT_S = 120.0

MOST_GROWTH = 0.05
"""Of the front end's memory, from the first to the last fifth of the samples after the warm-up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The front end at one time."""

    seconds: float
    memory_mib: float
    engine_memory_mib: float
    file_descriptors: int
    threads: int
    live_choices: int
    retained_kib: float


async def soak(minutes: float, *, kill_every_s: float, callers: int, seed: int) -> dict[str, object]:
    """Run it all; what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        options = (
            "--model",
            fetch_demo_model(default_cache_dir()),
            "--served-model-name",
            MODEL,
            "--port",
            "0",
            "--http-port",
            "0",
        )
        with ServeProcess(*options, "--log-level", "warning", log=Path(folder) / "log") as server:
            server.wait_until_ready()
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub: ChatServiceAsyncStub = ChatServiceStub(channel)
                load_stub: OperationsServiceAsyncStub = OperationsServiceStub(channel)
                cases = [await answered(stub, request) for request in requests(MODEL, count=NUM_CASES, seed=seed)]
                load = SoakLoad(server.target, server.url, cases, seed=seed)
                load.start(callers=callers)
                samples, kills = await _watch(server, load_stub, minutes * 60, kill_every_s=kill_every_s)
                await load.stop()
                last = await _idle(load_stub)
                samples.append(_sample(psutil.Process(server.pid), last, minutes * 60))
    return {
        "counts": dict(load.counts),
        "failures": dict(load.failures),
        "kills": kills,
        "restarts": last.engine_restarts,
        "at the end": {
            "running": last.running_choices,
            "waiting": last.waiting_choices,
            "kv_cache_usage": last.kv_cache_usage,
        },
        "samples": [asdict(sample) for sample in samples],
    }


async def _watch(
    server: ServeProcess, stub: "OperationsServiceAsyncStub", seconds: float, *, kill_every_s: float
) -> tuple[list[Sample], int]:
    """Sample, and kill the engine now and then."""
    process, began_s, kills, served_s = psutil.Process(server.pid), time.monotonic(), 0, 0.0
    samples: list[Sample] = []
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        load = await stub.GetLoad(GetLoadRequest(), timeout=60)
        samples.append(_sample(process, load, elapsed_s))
        served_s = served_s + SAMPLE_S if load.state == ServerState.SERVER_STATE_SERVING else 0.0
        if kill_every_s and served_s >= kill_every_s:
            _engine(process).send_signal(signal.SIGKILL)
            kills, served_s = kills + 1, 0.0
        await asyncio.sleep(SAMPLE_S)
    return samples, kills


async def _idle(stub: "OperationsServiceAsyncStub") -> Load:
    """The load once nothing is live and nothing retained."""
    async with asyncio.timeout(IDLE_TIMEOUT_S):
        while True:
            load: Load = await stub.GetLoad(GetLoadRequest(), timeout=60)
            if not (load.running_choices or load.waiting_choices or load.retained_bytes or load.kv_cache_usage):
                return load
            await asyncio.sleep(1.0)


def _engine(process: psutil.Process) -> psutil.Process:
    """The engine process: the child that takes the most memory."""
    found: psutil.Process = max(process.children(), key=lambda child: child.memory_info().rss)
    return found


def _sample(process: psutil.Process, load: Load, seconds: float) -> Sample:
    return Sample(
        seconds=seconds,
        memory_mib=process.memory_info().rss / 2**20,
        engine_memory_mib=_engine(process).memory_info().rss / 2**20,
        file_descriptors=process.num_fds(),
        threads=process.num_threads(),
        live_choices=load.running_choices + load.waiting_choices,
        retained_kib=load.retained_bytes / 2**10,
    )


def _growth(samples: list[Sample]) -> float:
    """Mean memory of the last fifth of the samples over that of the first one after the warm-up, less 1."""
    warm = [sample.memory_mib for sample in samples[len(samples) // 5 :]]
    fifth = max(1, len(warm) // 5)
    return (sum(warm[-fifth:]) / fifth) / (sum(warm[:fifth]) / fifth) - 1


def _tables(result: dict[str, object], samples: list[Sample]) -> str:
    counts, failures = result["counts"], result["failures"]
    assert isinstance(counts, dict)
    assert isinstance(failures, dict)
    lines = ["| callers | times |", "|---|---|", *(f"| {name} | {count} |" for name, count in sorted(counts.items()))]
    lines += [f"| engine killed | {result['kills']} |", f"| engine restarted | {result['restarts']} |"]
    lines += ["", "| what failed | times |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in failures.items()] or ["| nothing | 0 |"]
    lines += ["", "| minute | front end MiB | engine MiB | file descriptors | threads | live choices | retained KiB |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for sample in [*samples[:: max(1, len(samples) // 12)], samples[-1]]:
        lines.append(
            f"| {sample.seconds / 60:.1f} | {sample.memory_mib:.1f} | {sample.engine_memory_mib:.0f} "
            f"| {sample.file_descriptors} | {sample.threads} | {sample.live_choices} | {sample.retained_kib:.0f} |"
        )
    lines += ["", f"memory of the front end, last fifth over first after the warm-up: {_growth(samples):+.1%}"]
    return "\n".join(lines)


def main() -> int:
    """Soak, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kill-every-s", type=float, default=60.0, help="of service; 0: never")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write all figures here too")
    arguments = parser.parse_args()
    result = asyncio.run(
        soak(
            arguments.minutes,
            kill_every_s=arguments.kill_every_s,
            callers=arguments.callers,
            seed=arguments.seed,
        )
    )
    raw = result["samples"]
    assert isinstance(raw, list)
    samples = [Sample(**sample) for sample in raw]
    print(_tables(result, samples))
    print(f"\n{circumstances(sys.argv)}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({**result, "circumstances": circumstances(sys.argv)}, indent=1), encoding="utf-8"
        )
    return 1 if result["failures"] or _growth(samples) > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
