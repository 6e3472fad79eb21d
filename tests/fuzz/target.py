"""The process of the server under test: started, asked for its census, ended."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

TESTS = Path(__file__).parent.parent
STOP_S = 60
SETTLE_S = 20.0

Census = dict[str, float]


class Target:
    """A server in a process of its own. A context manager; its log goes to `log`."""

    def __init__(self, *, log: Path, is_real: bool = False) -> None:
        """`is_real`: a tiny random model instead of a scripted engine."""
        self.log = log
        command = [sys.executable, "-m", "fuzz.server", *(["--model"] if is_real else [])]
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        try:
            ports = self._read()
        except BaseException:
            self._process.kill()
            raise
        self.grpc = f"127.0.0.1:{int(ports['grpc'])}"
        self.http_port = int(ports["http"])

    def census(self) -> Census:
        """Memory, file descriptors, tasks and live work, as they are now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def at_rest(self) -> Census:
        """The census once it is the same three times, memory apart, or after a while."""
        deadline = time.monotonic() + SETTLE_S
        last: list[Census] = []
        while True:
            last = [*last[-2:], self.census()]
            figures = [{name: census[name] for name in census if name != "rss_mib"} for census in last]
            if (len(last) == 3 and figures[0] == figures[1] == figures[2]) or time.monotonic() > deadline:
                return last[-1]
            time.sleep(0.1)

    def settled(self, before: Census) -> Census:
        """The census once nothing is live and there are no more tasks and descriptors than before, or after a while."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            now = self.census()
            is_settled = all(now[name] <= before[name] for name in before if name != "rss_mib")
            if is_settled or time.monotonic() > deadline:
                return now
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(STOP_S)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self) -> Census:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with {self._process.wait()}; its log:\n{self.log.read_text()}")
        census: Census = json.loads(line)
        return census
