"""The streams of several prompts as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Self

from tokenwire.v1.chat_pb2 import ChatCompletionEvent

Events = AsyncGenerator[ChatCompletionEvent, None]


@dataclass(frozen=True, slots=True)
class PromptEvent:
    """An event of the stream of one prompt, by its number."""

    prompt: int
    event: ChatCompletionEvent


class MergedStreams:
    """Events as they come. The first error ends all; `aclose` must be called in the end."""

    def __init__(self, streams: Sequence[Events]) -> None:
        self._streams = streams
        # None: a stream has ended. One place: who reads slowly slows all of them down.
        self._queue: asyncio.Queue[PromptEvent | Exception | None] = asyncio.Queue(maxsize=1)
        self._tasks = [asyncio.create_task(self._pump(*numbered)) for numbered in enumerate(streams)]
        self._num_live = len(streams)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PromptEvent:
        while self._num_live:
            item = await self._queue.get()
            if isinstance(item, Exception):
                raise item
            if item is not None:
                return item
            self._num_live -= 1
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the calls that are live."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close(self._streams)

    async def _pump(self, prompt: int, stream: Events) -> None:
        try:
            async for event in stream:
                await self._queue.put(PromptEvent(prompt, event))
            await self._queue.put(None)
        except Exception as error:  # to be raised where the events are read
            await self._queue.put(error)


async def close(streams: Sequence[Events]) -> None:
    """End the calls."""
    await asyncio.gather(*(stream.aclose() for stream in streams), return_exceptions=True)
