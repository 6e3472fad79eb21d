"""A scripted engine whose start waits for the test."""

import asyncio
from collections.abc import Callable

from support.fake_engine import FakeEngine
from tokenwire.engine.protocol import EngineInfo, Progress


class SlowEngine(FakeEngine):
    """Sets `is_starting`, then starts when `may_start` is set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.may_start = asyncio.Event()
        self.is_starting = asyncio.Event()

    async def start(self, on_progress: Callable[[Progress], None]) -> EngineInfo:
        self.is_starting.set()
        await self.may_start.wait()
        return await super().start(on_progress)
