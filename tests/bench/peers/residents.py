"""Servers as processes that stay loaded while at most one of them runs."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tokenwire.cli.bench.targets import Address

_START_TIMEOUT_S = 600
_STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started, and where it is then."""

    address: Address
    """Where it is measured."""
    url: str
    """Of its REST API, which tells when it is ready."""
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Residents:
    """Each server is a session of its own that is stopped (SIGSTOP) but for its turns, so it takes nothing then."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, launch: Launch) -> None:
        """Start a server, wait until it answers, and stop it until its turn. Raises TimeoutError, RuntimeError."""
        name = launch.address.name
        log = self._logs / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **launch.environment},
                start_new_session=True,
            )
        self._processes[name] = process
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _answers(launch.url):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode} while it started; see {log}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} did not answer within {_START_TIMEOUT_S} s; see {log}")
            time.sleep(0.5)
        self._signal(name, signal.SIGSTOP)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Let this server run."""
        self._signal(name, signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(name, signal.SIGSTOP)

    def close(self) -> None:
        """End all of them: asked first, then killed."""
        for name, process in self._processes.items():
            self._signal(name, signal.SIGCONT)
            process.terminate()
        for name, process in self._processes.items():
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._signal(name, signal.SIGKILL)
                process.wait()

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes[name]
        if process.poll() is None:
            os.killpg(process.pid, number)


def _answers(url: str) -> bool:
    """Whether a model is served; some servers answer before it is loaded."""
    try:
        response = httpx.get(f"{url}/models", timeout=2, trust_env=False)
        return response.status_code == httpx.codes.OK and bool(response.json()["data"])
    except httpx.HTTPError:
        return False
