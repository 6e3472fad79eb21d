"""The driver of a client: a process that is sent commands and answers with results."""

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections import deque
from typing import Any

from clients.conformance.messages import LENGTH, Result
from clients.languages import Language

RESULT_TIMEOUT_S = 15
END_TIMEOUT_S = 5
NUM_LINES = 40
"""Of the end of stderr, kept for who reads why a driver failed."""


class DriverError(Exception):
    """The driver ended, or gave no result in time."""


class Driver:
    """Started with its first command, and anew after it failed."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stderr: deque[str] = deque(maxlen=NUM_LINES)

    async def run(self, command: Any) -> Any:
        """The `Result` of a `Command`. Raises `DriverError`."""
        process = self._process or await self._start()
        assert process.stdin is not None
        data = command.SerializeToString()
        try:
            async with asyncio.timeout(RESULT_TIMEOUT_S):
                process.stdin.write(LENGTH.pack(len(data)) + data)
                await process.stdin.drain()
                return await self._read(process)
        except TimeoutError:
            problem = f"no result within {RESULT_TIMEOUT_S} s"
        except (ConnectionError, asyncio.IncompleteReadError):
            problem = "it ended"
        await self.close()
        raise DriverError("\n".join([f"the driver of {self._language.name}: {problem}; its stderr:", *self._stderr]))

    async def close(self) -> None:
        """End it: its stdin ends, and if that is not enough it is killed."""
        if (process := self._process) is None:
            return
        assert process.stdin is not None
        assert self._reading is not None
        self._process = None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        await self._reading

    async def _start(self) -> Process:
        program, *arguments = map(str, self._language.driver)
        path = shutil.which(program)
        assert path is not None, f"{program} is not there"
        environment = {**os.environ, **self._language.environment}
        process = await asyncio.create_subprocess_exec(
            path, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
        )
        self._process = process
        self._reading = asyncio.create_task(self._keep_stderr(process))
        return process

    async def _read(self, process: Process) -> Any:
        assert process.stdout is not None
        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
        return Result.FromString(await process.stdout.readexactly(length))

    async def _keep_stderr(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._stderr.append(line.decode(errors="replace").rstrip())
