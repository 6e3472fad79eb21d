"""Servers in a thread with an event loop of its own, for tests that block: they drive a browser."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from threading import Thread
from typing import TypeVar

from support.server import TIMEOUT_S

T = TypeVar("T")


@contextmanager
def in_thread(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """What the async context gives, as long as this one is open."""
    started: Future[T] = Future()
    stop, loop = asyncio.Event(), asyncio.new_event_loop()

    async def hold() -> None:
        try:
            async with make() as value:
                started.set_result(value)
                await stop.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(hold())

    thread = Thread(target=run)
    thread.start()
    try:
        yield started.result(TIMEOUT_S)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_S)
