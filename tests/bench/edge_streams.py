"""The load generator of `edge_sustained.py`: so many streams that go on, from a process of its own.

python tests/bench/edge_streams.py KIND TARGET STREAMS SECONDS FILE

KIND is `http2` (frames off one socket, the cheapest reader), `grpc` (plain stubs), `client` (the Python client library)
or `rest` (server-sent events, a socket a stream). Prints `ready` after a short answer, waits for a line, opens all
streams at once, prints `running` when each has had text, `done` SECONDS later, and writes what it saw to FILE. Bytes
are kept and read afterwards.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import grpc

from tokenwire.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest, Message, Role
from tokenwire_client import AsyncClient

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench.edge_http2 import Http2Reader, messages
from bench.edge_sse import SseReader

PROMPT = "Say something about the sea, the wind and the weather, in a few words, as a sailor would say it."
PATH = "/tokenwire.v1.ChatService/StreamChatCompletion"
REST_PATH = "/v1/chat/completions"
WAIT_S = 120
TOKENS = 1 << 29
"""More than any stream gets."""

Chunks = list[tuple[float, Any]]
"""(when it came, what came) of one stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as the reader saw it, on the monotonic clock."""

    id: str
    sent_s: float
    texts: list[tuple[float, int]]
    """(when, tokens) of each message with text."""


@dataclass(frozen=True, slots=True)
class Seen:
    """All streams."""

    began_s: float
    """When each had had text."""
    ended_s: float
    streams: list[Stream]


class Gate:
    """Opens when all streams have had text."""

    def __init__(self, streams: Iterable[int], read: "Read") -> None:
        self._waiting = set(streams)
        self._read = read
        self.opened = asyncio.Event()

    def note(self, stream: int, chunks: Chunks) -> None:
        """Something has come."""
        if stream in self._waiting and self._read(0.0, chunks).texts:
            self._waiting.discard(stream)
            if not self._waiting:
                self.opened.set()


def request(tokens: int) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model="scripted",
        messages=[Message(role=Role.ROLE_USER, content=PROMPT)],
        max_completion_tokens=tokens,
        ignore_eos=True,
    )


class SocketReader(Protocol):
    """Takes bytes off sockets."""

    def read(self) -> Iterable[tuple[int, bytes | None]]: ...

    def close(self) -> None: ...


Open = Callable[[int, int], Sequence[int]]
"""Makes so many requests, of so many tokens each. Gives the numbers of their streams."""


def rest_request(tokens: int) -> bytes:
    fields = {"model": "scripted", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    return json.dumps({**fields, "max_completion_tokens": tokens, "ignore_eos": True}).encode()


def read_http2(target: str, streams: int, seconds: float) -> Seen:
    """All streams over one connection."""
    reader = Http2Reader(target, timeout_s=WAIT_S)

    def call(number: int, tokens: int) -> Sequence[int]:
        return reader.call(PATH, [request(tokens).SerializeToString()] * number)

    return read_sockets(reader, call, read_http2_chunks, streams=streams, seconds=seconds)


def read_sse(target: str, streams: int, seconds: float) -> Seen:
    """A connection a stream."""
    reader = SseReader(target, timeout_s=WAIT_S)

    def call(number: int, tokens: int) -> Sequence[int]:
        return reader.call(REST_PATH, rest_request(tokens), streams=number)

    return read_sockets(reader, call, read_rest, streams=streams, seconds=seconds)


def read_sockets(reader: SocketReader, call: Open, read: "Read", *, streams: int, seconds: float) -> Seen:
    """All streams in one thread."""
    (warm_up,) = call(1, 8)
    while (warm_up, None) not in reader.read():
        pass
    _say_ready()
    sent_s = time.monotonic()
    chunks: dict[int, Chunks] = {stream: [] for stream in call(streams, TOKENS)}
    gate = Gate(chunks, read)
    began_s = 0.0
    while not began_s or time.monotonic() < began_s + seconds:
        for stream, data in reader.read():
            assert data is not None, "a stream ended"
            chunks[stream].append((time.monotonic(), data))
            if not began_s:
                gate.note(stream, chunks[stream])
        if gate.opened.is_set() and not began_s:
            began_s = time.monotonic()
            print("running", flush=True)
    ended_s = time.monotonic()
    print("done", flush=True)
    reader.close()
    return Seen(began_s, ended_s, [read(sent_s, seen) for seen in chunks.values()])


Follow = Callable[[int, Chunks, Callable[[], None]], Coroutine[Any, Any, None]]
"""Makes a request of so many tokens, keeps what comes, and tells of it."""
Read = Callable[[float, Chunks], Stream]
"""What was seen of one stream, by when its request was sent."""


async def read_tasks(follow: Follow, read: Read, *, streams: int, seconds: float) -> Seen:
    """A task a stream."""
    await follow(8, [], lambda: None)
    _say_ready()
    sent_s = time.monotonic()
    gate = Gate(range(streams), read)
    chunks: list[Chunks] = [[] for _ in range(streams)]
    tasks = [asyncio.create_task(follow(TOKENS, seen, partial(gate.note, i, seen))) for i, seen in enumerate(chunks)]
    await asyncio.wait_for(gate.opened.wait(), WAIT_S)
    began_s = time.monotonic()
    print("running", flush=True)
    ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    assert not ended, "a stream ended"
    ended_s = time.monotonic()
    print("done", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Seen(began_s, ended_s, [read(sent_s, seen) for seen in chunks])


def follow_grpc(channel: grpc.aio.Channel) -> Follow:
    call: Any = channel.unary_stream(PATH, request_serializer=ChatCompletionRequest.SerializeToString)

    async def follow(tokens: int, seen: Chunks, note: Callable[[], None]) -> None:
        async for data in call(request(tokens)):
            seen.append((time.monotonic(), data))
            note()

    return follow


def follow_client(client: AsyncClient) -> Follow:
    async def follow(tokens: int, seen: Chunks, note: Callable[[], None]) -> None:
        async for update in client.stream(PROMPT, max_completion_tokens=tokens, ignore_eos=True):
            seen.append((time.monotonic(), update.text or update.completion.id))
            note()

    return follow


def read_grpc(sent_s: float, seen: Chunks) -> Stream:
    events = [(when_s, ChatCompletionEvent.FromString(data)) for when_s, data in seen]
    texts = [(when_s, len(event.delta.content)) for when_s, event in events if event.delta.content]
    return Stream(events[0][1].started.id if events else "", sent_s, texts)


def read_http2_chunks(sent_s: float, seen: Chunks) -> Stream:
    return read_grpc(sent_s, list(messages(seen)))


def read_client(sent_s: float, seen: Chunks) -> Stream:
    return Stream(seen[0][1], sent_s, [(when_s, len(text)) for when_s, text in seen[1:]])


def read_rest(sent_s: float, seen: Chunks) -> Stream:
    # Lines of chunked encoding stand between the events, which never span two chunks.
    texts, rest, completion_id = [], b"", ""
    for when_s, data in seen:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                chunk = json.loads(line.removeprefix(b"data: "))
                completion_id = chunk["id"]
                if count := sum(len(choice["delta"].get("content") or "") for choice in chunk["choices"]):
                    texts.append((when_s, count))
    return Stream(completion_id, sent_s, texts)


def _say_ready() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


async def run_tasks(kind: str, target: str, streams: int, seconds: float) -> Seen:
    load = partial(read_tasks, streams=streams, seconds=seconds)
    match kind:
        case "grpc":
            async with grpc.aio.insecure_channel(target) as channel:
                return await load(follow_grpc(channel), read_grpc)
        case "client":
            async with AsyncClient(target) as client:
                return await load(follow_client(client), read_client)
        case _:
            raise SystemExit(f"unknown kind {kind!r}")


def main() -> None:
    kind, target, number, duration, file = sys.argv[1:]
    streams, seconds = int(number), float(duration)
    match kind:
        case "http2":
            seen = read_http2(target, streams, seconds)
        case "rest":
            seen = read_sse(target, streams, seconds)
        case _:
            seen = asyncio.run(run_tasks(kind, target, streams, seconds))
    Path(file).write_text(json.dumps(asdict(seen)), encoding="utf-8")


if __name__ == "__main__":
    main()
