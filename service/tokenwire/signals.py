"""The signals that end a server."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """The event is set by the first SIGTERM or SIGINT; the second ends the process with 128 + its number."""
    signalled = asyncio.Event()

    def handle(number: int) -> None:
        if signalled.is_set():
            os._exit(128 + number)
        signalled.set()

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, handle, number)
    try:
        yield signalled
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
