"""`tokenwire serve` as an operator runs it: a process of its own, told by its output."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

TOKENWIRE = (sys.executable, "-c", "from tokenwire.cli.app import main; main()")
START_TIMEOUT_S = 280
EXIT_TIMEOUT_S = 60


class ServeProcess:
    """Started at once; standard error goes to `log`. As a context manager it is ended: asked first, then killed."""

    def __init__(self, *arguments: str | Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.banner = ""
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [*TOKENWIRE, "serve", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Of the front end."""
        return self._process.pid

    @property
    def target(self) -> str:
        """Address of the gRPC port, from the banner."""
        return self._address(r"gRPC +(\S+)")

    @property
    def url(self) -> str:
        """Base URL of the REST API, from the banner."""
        return self._address(r"REST +(\S+)")

    @property
    def metrics_url(self) -> str:
        """Of the metrics, from the banner."""
        return self._address(r"metrics +(\S+)")

    @property
    def channelz(self) -> str:
        """Address of the admin port, from the banner."""
        return self._address(r"channelz +(\S+)")

    def wait_until_ready(self, last_line: str = "REST") -> Self:
        """Read the banner up to the line that starts with this word."""
        deadline = time.monotonic() + START_TIMEOUT_S
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while not re.search(rf"^ *{last_line}.*\n", self.banner, re.MULTILINE):
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no banner within {START_TIMEOUT_S} s; the log:\n{self.log.read_text()}"
            data = os.read(output, 4096)
            assert data, f"the server ended with {self.wait()}; the log:\n{self.log.read_text()}"
            self.banner += data.decode()
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the front end alone, as a service manager does."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code."""
        return self._process.wait(EXIT_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
                self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _address(self, pattern: str) -> str:
        found = re.search(pattern, self.banner)
        assert found, self.banner
        return found[1]
