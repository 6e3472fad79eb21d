"""Cuts the connections of streams at random points: resumed, each answer must be exactly that of the uncut run.

PYTHONPATH=tests python -m chaos.cut_streams [--model MODEL] [--streams 200] [--seed 1] [--json FILE]

Each stream has a connection of its own through a proxy that resets it after a random number of bytes, in the midst of a
frame or of a message. Its reader connects again and goes on after the last event that it has, with
ResumeChatCompletion, or with the same `request_id` if it has none; and is cut again. Compared are text,
log-probabilities, tool calls, finish reasons and counts of tokens. Prints a Markdown table and ends with 1 where a
stream was lost, broke its grammar, or differs.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from chaos.cutting_proxy import CuttingProxy
from chaos.soak_cases import Case, answered, differences, requests
from support.serve_process import ServeProcess
from tokenwire.cache import default_cache_dir
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.demo import fetch_demo_model
from tokenwire.stream import StreamChecker, StreamFolder, StreamGrammarError
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    ChatCompletionRequest,
    OnDisconnect,
    ResumeChatCompletionRequest,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

MODEL = "cut"
WAIT_S = 300.0
AT_ONCE = 8
"""Streams that are read at the same time."""
MEAN_BYTES = 1000
"""Bytes that a connection lives for, in the mean; exponentially distributed."""
OWN_CONNECTION = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 10),
)


@dataclass
class Outcome:
    """What came of the streams."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass
class Reader:
    """Reads one stream, over one connection after the other."""

    case: Case
    target: str
    """Of the proxy."""
    request_id: str
    outcome: Outcome
    checker: StreamChecker = field(default_factory=StreamChecker)
    folder: StreamFolder = field(default_factory=StreamFolder)
    completion_id: str = ""
    last_sequence: int = -1
    num_cuts: int = 0

    async def read(self) -> None:
        """To its end, however often it is cut."""
        while not await self._read_until_cut():
            self.num_cuts += 1
        self.checker.end()
        self.outcome.counts["streams"] += 1
        self.outcome.counts["cuts"] += self.num_cuts
        self.outcome.counts["streams that were cut"] += self.num_cuts > 0
        self.outcome.counts["streams that were cut several times"] += self.num_cuts > 1
        self.outcome.counts["most cuts of one stream"] = max(
            self.outcome.counts["most cuts of one stream"], self.num_cuts
        )
        self.outcome.counts["tokens"] += self.folder.completion.usage.completion_tokens

    async def _read_until_cut(self) -> bool:
        """Whether it came to its end."""
        async with grpc.aio.insecure_channel(self.target, options=OWN_CONNECTION) as channel:
            try:
                async for event in self._call(ChatServiceStub(channel)):
                    self.checker.check(event)
                    self.folder.add(event)
                    self.last_sequence = event.sequence
                    self.completion_id = self.completion_id or event.started.id
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return False
        return True

    def _call(self, stub: "ChatServiceAsyncStub") -> AsyncIterable[ChatCompletionEvent]:
        if not self.completion_id:
            self.outcome.counts["begun"] += 1
            request = ChatCompletionRequest()
            request.CopyFrom(self.case.request)
            request.request_id = self.request_id
            request.execution_policy.on_disconnect = OnDisconnect.ON_DISCONNECT_DETACH
            return stub.StreamChatCompletion(request, timeout=WAIT_S)
        self.outcome.counts["resumed"] += 1
        rest = ResumeChatCompletionRequest(completion_id=self.completion_id, after_sequence=self.last_sequence)
        return stub.ResumeChatCompletion(rest, timeout=WAIT_S)


async def cut(target: str, *, streams: int, seed: int) -> Outcome:
    """Ask without the proxy, then through it."""
    outcome, asked = Outcome(), requests(MODEL, count=streams, seed=seed)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))
        limit = asyncio.Semaphore(AT_ONCE)
        stub: ChatServiceAsyncStub = ChatServiceStub(channel)

        async def ask(request: ChatCompletionRequest) -> Case:
            async with limit:
                return await answered(stub, request)

        cases = await asyncio.gather(*map(ask, asked))
        chance = random.Random(seed)
        proxy = CuttingProxy(target, num_bytes=lambda: round(chance.expovariate(1 / MEAN_BYTES)))
        await stack.enter_async_context(proxy)

        async def read(number: int, case: Case) -> None:
            reader = Reader(case, proxy.target, f"{seed}-{number}", outcome)
            async with limit:
                try:
                    await asyncio.wait_for(reader.read(), WAIT_S)
                except (grpc.aio.AioRpcError, StreamGrammarError, TimeoutError) as error:
                    outcome.failures.append(f"stream {number}: {error!r}")
                    return
            if difference := differences(reader.folder, case):
                outcome.failures.append(f"stream {number}: another answer: {difference}")

        await asyncio.gather(*(read(number, case) for number, case in enumerate(cases)))
    return outcome


async def run(model: Path, *, streams: int, weights: str, seed: int) -> Outcome:
    """Serve the model, and cut."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--model", model, "--served-model-name", MODEL, "--weights", weights, "--device", "cpu")
        more = ("--port", "0", "--kv-memory", "512MiB", "--log-level", "warning")
        with ServeProcess(*options, *more, log=Path(folder) / "log") as server:
            server.wait_until_ready("gRPC")
            return await cut(server.target, streams=streams, seed=seed)


def table(outcome: Outcome) -> str:
    """What came of it, as Markdown."""
    differ = sum("another answer" in failure for failure in outcome.failures)
    rows = {
        **outcome.counts,
        "streams lost or broken": len(outcome.failures) - differ,
        "answers that differ from the uncut ones": differ,
    }
    return "\n".join(["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Cut, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for the counts")
    options = parser.parse_args(arguments)
    model = options.model or fetch_demo_model(default_cache_dir())
    outcome = asyncio.run(run(model, streams=options.streams, weights=options.weights, seed=options.seed))
    told = dict(circumstances(sys.argv))
    print(table(outcome))
    print(f"\n{told}")
    for failure in outcome.failures:
        print(failure, file=sys.stderr)
    if options.json is not None:
        options.json.write_text(json.dumps({"counts": outcome.counts, "failures": outcome.failures, **told}, indent=1))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
