"""A front end over the scripted engine, each in a process of its own, for benches."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from support.scripted_engine import Pace  # noqa: E402
from support.tiny import make_tokenizer  # noqa: E402

WAIT_S = 300


@dataclass(frozen=True, slots=True)
class Edge:
    """A running front end."""

    server: psutil.Process
    ports: dict[str, str]
    journal: Path

    @property
    def engine(self) -> psutil.Process:
        """The scripted engine."""
        return next(
            child for child in self.server.children() if any("scripted_engine" in word for word in child.cmdline())
        )


def scripted_pace(folder: Path, step_s: float, *, tokens_per_step: int = 1) -> Pace:
    """An engine that spells letters; its tokenizer is written to the folder."""
    vocabulary = make_tokenizer(folder).get_vocab()
    letters = tuple(vocabulary[letter] for letter in "tokenwire")
    return Pace(step_s, letters, len(vocabulary), str(folder / "journal"), tokens_per_step)


@asynccontextmanager
async def front_end(folder: Path, pace: Pace) -> AsyncIterator[Edge]:
    """Started, and ended at the end. Its log goes to the folder."""
    program = [sys.executable, str(HERE / "edge_server.py"), str(folder)]
    with (folder / "log").open("w") as log:
        server = await asyncio.create_subprocess_exec(
            *program, stdin=PIPE, stdout=PIPE, stderr=log, env={**os.environ, **pace.environment()}
        )
    try:
        port, http_port = (await line(server)).split()
        ports = {"grpc": f"127.0.0.1:{port}", "client": f"127.0.0.1:{port}", "rest": f"127.0.0.1:{http_port}"}
        yield Edge(psutil.Process(server.pid), ports, Path(pace.journal))
    finally:
        assert server.stdin is not None
        server.stdin.close()
        await asyncio.wait_for(server.wait(), WAIT_S)


@asynccontextmanager
async def gateway(edge: Edge) -> AsyncIterator[tuple[psutil.Process, str]]:
    """A gateway before it, and its REST address."""
    program = [sys.executable, str(HERE / "edge_gateway.py"), edge.ports["grpc"]]
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        yield psutil.Process(process.pid), f"127.0.0.1:{await line(process)}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), WAIT_S)


async def line(process: Process) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), WAIT_S)).decode().strip()


def cpu_s(process: psutil.Process) -> float:
    """Processor time so far, all threads, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)
