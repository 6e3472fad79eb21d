"""The load generator of `edge.py`: so many streams at once, from a process of its own.

python tests/bench/edge_load.py KIND TARGET STREAMS REQUESTS TOKENS FILE

KIND is `grpc` (stubs; answers are kept as bytes and read afterwards: the cheapest reader), `client` (the Python client
library) or `rest` (server-sent events over plain sockets, likewise read afterwards). Warms up, prints `ready`, waits
for a line, sends REQUESTS requests of TOKENS tokens, prints `done`, and writes what it saw to FILE. The first answer of
each stream is shorter, by as much for one stream as for the next: so later requests come one by one.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest, Message, Role
from tokenwire_client import AsyncClient

PROMPT = "Say something about the sea, the wind and the weather, in a few words, as a sailor would say it."
PATH = "/tokenwire.v1.ChatService/StreamChatCompletion"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as the client saw it, on the monotonic clock."""

    id: str
    sent_s: float
    arrivals: list[tuple[float, int]]
    """(when, number of tokens so far), one entry a message that had text."""
    num_messages: int
    is_first: bool = False
    """Of its stream: sent at once with the first ones of all others."""


Arrivals = list[tuple[float, bytes]]
Caller = Callable[[int], Coroutine[Any, Any, Callable[[], Answer]]]
"""Makes a request of so many tokens; what it gives reads the answer, once there is time for that."""


def grpc_caller(channel: grpc.aio.Channel) -> Caller:
    """Plain stubs."""
    call: Any = channel.unary_stream(PATH, request_serializer=ChatCompletionRequest.SerializeToString)

    async def one(tokens: int) -> Callable[[], Answer]:
        request = ChatCompletionRequest(
            model="scripted",
            messages=[Message(role=Role.ROLE_USER, content=PROMPT)],
            max_completion_tokens=tokens,
            ignore_eos=True,
        )
        sent_s = time.monotonic()
        seen: Arrivals = [(time.monotonic(), data) async for data in call(request)]
        return lambda: _read_events(sent_s, seen)

    return one


def _read_events(sent_s: float, seen: Arrivals) -> Answer:
    events = [(when_s, ChatCompletionEvent.FromString(data)) for when_s, data in seen]
    assert events[-1][1].HasField("completed")
    arrivals, count = [], 0
    for when_s, event in events:
        if event.delta.content:
            count += len(event.delta.content)
            arrivals.append((when_s, count))
    return Answer(events[0][1].started.id, sent_s, arrivals, len(events))


def client_caller(client: AsyncClient) -> Caller:
    """The client library: every event is checked and folded."""

    async def one(tokens: int) -> Callable[[], Answer]:
        arrivals, count, num_messages = [], 0, 0
        sent_s = time.monotonic()
        async for update in client.stream(PROMPT, max_completion_tokens=tokens, ignore_eos=True):
            num_messages += 1
            if update.text:
                count += len(update.text)
                arrivals.append((time.monotonic(), count))
        answer = Answer(update.completion.id, sent_s, arrivals, num_messages)
        return lambda: answer

    return one


def rest_caller(host: str, port: int) -> Caller:
    """HTTP/1.1, a connection a request."""

    async def one(tokens: int) -> Callable[[], Answer]:
        body = json.dumps(
            {
                "model": "scripted",
                "messages": [{"role": "user", "content": PROMPT}],
                "max_completion_tokens": tokens,
                "ignore_eos": True,
                "stream": True,
            }
        )
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}"
        sent_s = time.monotonic()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f"{head}\r\nContent-Type: application/json\r\n\r\n{body}".encode())
        seen: Arrivals = []
        while data := await reader.read(1 << 16):
            seen.append((time.monotonic(), data))
        writer.close()
        return lambda: _read_sse(sent_s, seen)

    return one


def _read_sse(sent_s: float, seen: Arrivals) -> Answer:
    # Lines of chunked encoding stand between the events, which never span two chunks.
    arrivals, count, num_messages, rest, completion_id = [], 0, 0, b"", ""
    for when_s, data in seen:
        *lines, rest = (rest + data).split(b"\n")
        before = count
        for line in lines:
            if line.startswith(b"data: {"):
                num_messages += 1
                chunk = json.loads(line.removeprefix(b"data: "))
                completion_id = chunk["id"]
                count += sum(len(choice["delta"].get("content") or "") for choice in chunk["choices"])
        if count > before:
            arrivals.append((when_s, count))
    return Answer(completion_id, sent_s, arrivals, num_messages)


async def measure(caller: Caller, *, streams: int, requests: int, tokens: int) -> list[Callable[[], Answer]]:
    """Each stream makes one request after the other until all are made."""
    left = requests
    answers: list[Callable[[], Answer]] = []

    async def work(stream: int) -> None:
        nonlocal left
        is_first = True
        while left > 0:
            left -= 1
            read = await caller(max(1, tokens * (stream + 1) // streams) if is_first else tokens)
            answers.append(partial(_marked, read, is_first=is_first))
            is_first = False

    async with asyncio.TaskGroup() as group:
        for stream in range(streams):
            group.create_task(work(stream))
    return answers


def _marked(read: Callable[[], Answer], *, is_first: bool) -> Answer:
    return replace(read(), is_first=is_first)


async def run(caller: Caller, *, streams: int, requests: int, tokens: int, file: Path) -> None:
    await measure(caller, streams=streams, requests=streams, tokens=8)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_s = time.monotonic()
    readers = await measure(caller, streams=streams, requests=requests, tokens=tokens)
    ended_s = time.monotonic()
    print("done", flush=True)
    answers = [asdict(read()) for read in readers]
    with file.open("w", encoding="utf-8") as out:
        json.dump({"wall_s": ended_s - began_s, "answers": answers}, out)


async def main() -> None:
    kind, target, streams, requests, tokens, file = sys.argv[1:]
    load = {"streams": int(streams), "requests": int(requests), "tokens": int(tokens), "file": Path(file)}
    match kind:
        case "grpc":
            async with grpc.aio.insecure_channel(target) as channel:
                await run(grpc_caller(channel), **load)  # type: ignore[arg-type]
        case "client":
            async with AsyncClient(target) as client:
                await run(client_caller(client), **load)  # type: ignore[arg-type]
        case "rest":
            host, _, port = target.partition(":")
            await run(rest_caller(host, int(port)), **load)  # type: ignore[arg-type]
        case _:
            raise SystemExit(f"unknown kind {kind!r}")


if __name__ == "__main__":
    asyncio.run(main())
