"""Streams of the chat service, read in parts, and folded with their grammar checked."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from google.protobuf.json_format import ParseDict

from tokenwire.chat.caller import ANYONE, Caller
from tokenwire.chat.service import ChatService
from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1.chat_pb2 import (
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    ResumeChatCompletionRequest,
)

WAIT_S = 10


def request(**fields: Any) -> ChatCompletionRequest:
    """A short request to the model `tiny`."""
    body = {"model": "tiny", "messages": [{"role": "ROLE_USER", "content": "hi"}], **fields}
    return ParseDict(body, ChatCompletionRequest())


def detached(**fields: Any) -> ChatCompletionRequest:
    """One whose completion goes on without readers."""
    return request(execution_policy={"on_disconnect": "ON_DISCONNECT_DETACH"}, **fields)


async def take(events: AsyncIterator[ChatCompletionEvent], num_events: int | None = None) -> list[ChatCompletionEvent]:
    """The next so many events of a stream, or all that come."""
    taken: list[ChatCompletionEvent] = []
    async with asyncio.timeout(WAIT_S):
        while num_events is None or len(taken) < num_events:
            event = await anext(events, None)
            if event is None:
                break
            taken.append(event)
    return taken


async def begin(
    service: ChatService, asked: ChatCompletionRequest, num_events: int | None = None, *, caller: Caller = ANYONE
) -> list[ChatCompletionEvent]:
    """The first so many events of a completion; then its reader goes away."""
    async with aclosing(service.stream(asked, caller=caller)) as events:
        return await take(events, num_events)


async def resume(
    service: ChatService,
    completion_id: str,
    after_sequence: int | None = None,
    num_events: int | None = None,
    *,
    caller: Caller = ANYONE,
) -> list[ChatCompletionEvent]:
    """The next so many events after a sequence; then the reader goes away."""
    asked = ResumeChatCompletionRequest(completion_id=completion_id, after_sequence=after_sequence)
    async with aclosing(service.resume(asked, caller=caller)) as events:
        return await take(events, num_events)


def fold(events: Iterable[ChatCompletionEvent]) -> ChatCompletion:
    """The answer of a whole stream, whose grammar is checked. What differs from run to run is left out."""
    checker, folder = StreamChecker(), StreamFolder()
    for event in events:
        checker.check(event)
        folder.add(event)
    checker.end()
    completion = ChatCompletion()
    completion.CopyFrom(folder.completion)
    for field in ("id", "created", "timings"):
        completion.ClearField(field)
    completion.usage.ClearField("wasted_tokens")
    return completion
