"""SIGKILLs the engine of a loaded server again and again: no stream may be lost, and no answer may change.

PYTHONPATH=tests python -m chaos.kill_engine [--model MODEL] [--kills 20] [--streams 16] [--weights fp32]

A kill comes at a random moment, once every stream that lived through the last one has gone on. Each answer is compared
with the one that the quiet server gave: text, log-probabilities, finish reasons, counts of tokens. Prints a Markdown
table and ends with 1 where a stream was lost, broke its grammar, or differs. ^C: no more kills.
"""

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil

from chaos.soak_cases import Case, answered, differences, requests
from support.serve_process import ServeProcess
from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.demo import fetch_demo_model
from tokenwire.stream import StreamChecker, StreamFolder, StreamGrammarError
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.operations_pb2 import GetLoadRequest, ServerState
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from tokenwire.v1.operations_pb2_grpc import OperationsServiceAsyncStub

MODEL = "smollm2-135m-instruct"
NUM_CASES = 40
LENGTHS = (64, 128, 192)
"""Most tokens of answers: long enough to be hit by kills."""
MOST_WAIT_S = 4.0
"""From the moment when all streams have gone on to the next kill."""
WAIT_S = 300.0
LOOK_S = 0.02


@dataclass(eq=False)
class Stream:
    """One that is being read."""

    has_gone_on: bool = False
    """Since the last kill."""
    num_kills: int = 0
    """That it has lived through."""


@dataclass
class Load:
    """Callers that stream one answer after the other, and what came of it."""

    stub: "ChatServiceAsyncStub"
    cases: Sequence[Case]
    seed: int
    is_over: bool = False
    live: set[Stream] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    pauses_s: list[float] = field(default_factory=list)
    """The longest one of each stream that lived through a kill."""

    def end(self) -> None:
        """No more streams, and no more kills."""
        self.is_over = True

    async def call(self, caller: int) -> None:
        """Stream until it is over."""
        chance = random.Random(self.seed * 1000 + caller)
        while not self.is_over:
            case, stream = chance.choice(self.cases), Stream()
            self.live.add(stream)
            try:
                await self._read(case, stream)
            except (grpc.aio.AioRpcError, StreamGrammarError) as error:
                self.failures.append(repr(error))
            finally:
                self.live.discard(stream)
            self.counts["streams"] += 1
            self.counts["streams that lived through a kill"] += stream.num_kills > 0
            self.counts["most kills in one stream"] = max(self.counts["most kills in one stream"], stream.num_kills)

    async def _read(self, case: Case, stream: Stream) -> None:
        checker, folder = StreamChecker(), StreamFolder()
        last_s, pause_s = time.monotonic(), 0.0
        async for event in self.stub.StreamChatCompletion(case.request, timeout=WAIT_S):
            checker.check(event)
            folder.add(event)
            if event.WhichOneof("event") in ("delta", "finished"):
                stream.has_gone_on = True
                now_s = time.monotonic()
                pause_s, last_s = max(pause_s, now_s - last_s), now_s
        checker.end()
        self.counts["tokens"] += folder.completion.usage.completion_tokens
        if difference := differences(folder, case):
            self.failures.append(f"another answer: {difference}")
        if stream.num_kills:
            self.pauses_s.append(pause_s)


async def kill_again_and_again(
    server: ServeProcess, load: Load, stub: "OperationsServiceAsyncStub", *, kills: int
) -> list[float]:
    """Kill the engine so many times; seconds from each kill to the moment when the server has taken all up again."""
    chance, restarts_s = random.Random(load.seed), []
    for number in range(1, kills + 1):
        if load.is_over:
            break
        survivors = [stream for stream in load.live if stream.num_kills]
        async with asyncio.timeout(WAIT_S):
            while any(not stream.has_gone_on and stream in load.live for stream in survivors):  # noqa: ASYNC110 (many)
                await asyncio.sleep(LOOK_S)
        await asyncio.sleep(chance.uniform(0, MOST_WAIT_S))
        for stream in load.live:
            stream.has_gone_on = False
            stream.num_kills += 1
        _engine(server.pid).kill()
        killed_s = time.monotonic()
        async with asyncio.timeout(WAIT_S):
            while True:
                told = await stub.GetLoad(GetLoadRequest(), timeout=WAIT_S)
                if told.engine_restarts == number and told.state == ServerState.SERVER_STATE_SERVING:
                    break
                await asyncio.sleep(LOOK_S)
        restarts_s.append(time.monotonic() - killed_s)
        print(f"kill {number}: back after {restarts_s[-1]:.1f} s, {len(load.live)} live", file=sys.stderr, flush=True)
    return restarts_s


def _engine(pid: int) -> psutil.Process:
    (engine,) = [child for child in psutil.Process(pid).children() if "tokenwire.engine.process" in child.cmdline()]
    return engine


async def run(model: Path, *, kills: int, streams: int, weights: str, seed: int) -> tuple[Load, list[float]]:
    """Ask the quiet server, then load it and kill its engine."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--model", model, "--served-model-name", MODEL, "--weights", weights, "--port", "0")
        with ServeProcess(*options, "--log-level", "warning", log=Path(folder) / "log") as server:
            server.wait_until_ready("gRPC")
            async with grpc.aio.insecure_channel(server.target) as channel:
                stub: ChatServiceAsyncStub = ChatServiceStub(channel)
                asked = requests(MODEL, count=NUM_CASES, seed=seed)
                for number, request in enumerate(asked):
                    request.max_completion_tokens = LENGTHS[number % len(LENGTHS)]
                cases = await asyncio.gather(*(answered(stub, request) for request in asked))
                load = Load(stub, cases, seed)
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, load.end)
                callers = [asyncio.create_task(load.call(number)) for number in range(streams)]
                restarts_s = await kill_again_and_again(server, load, OperationsServiceStub(channel), kills=kills)
                load.end()
                await asyncio.wait_for(asyncio.gather(*callers), WAIT_S)
            return load, restarts_s


def table(load: Load, restarts_s: Sequence[float]) -> str:
    """What came of it, as Markdown."""
    differ = sum(failure.startswith("another answer") for failure in load.failures)
    rows = {
        "kills": len(restarts_s),
        **load.counts,
        "streams lost or broken": len(load.failures) - differ,
        "answers that differ from the quiet server's": differ,
        "from the kill until all are taken up again, median / longest": _seconds(restarts_s),
        "longest pause of a stream that lived through a kill, median / longest": _seconds(load.pauses_s),
    }
    return "\n".join(["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} / {max(values):.1f} s" if values else "–"


def main() -> int:
    """Kill, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--streams", type=int, default=16, help="so many at any time")
    parser.add_argument("--weights", default="fp32")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    load, restarts_s = asyncio.run(
        run(
            arguments.model or fetch_demo_model(default_cache_dir()),
            kills=arguments.kills,
            streams=arguments.streams,
            weights=arguments.weights,
            seed=arguments.seed,
        )
    )
    print(table(load, restarts_s))
    print(f"\n{dict(circumstances(sys.argv))}")
    for failure in load.failures:
        print(failure, file=sys.stderr)
    return 1 if load.failures else 0


if __name__ == "__main__":
    sys.exit(main())
