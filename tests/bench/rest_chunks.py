"""What a chunk costs: events of the contract → server-sent events on a socket, processor time of one thread.

python tests/bench/rest_chunks.py [--streams 32] [--events 2000] [--rounds 5] [--profile]

The whole REST layer and the HTTP server run here, over a backend whose streams are made before; the reader is a process
of its own that throws away what it gets. So it is what REST does to a message after the chat service, and nothing else.
`--profile` shows where the time goes.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any

from tokenwire.listen import listen
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    Completed,
    Delta,
    EffectiveParameters,
    Finished,
    FinishReason,
    ServiceTier,
    Started,
)

WAIT_S = 120
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def events(number: int) -> list[ChatCompletionEvent]:
    """A stream of so many deltas, a word each."""
    started = Started(
        id="chatcmpl-0123456789abcdef",
        model="smollm2-135m-instruct",
        system_fingerprint="fp_0123456789",
        service_tier=ServiceTier.SERVICE_TIER_DEFAULT,
        parameters=EffectiveParameters(n=1),
    )
    return [
        ChatCompletionEvent(started=started),
        *(ChatCompletionEvent(delta=Delta(content=" word")) for _ in range(number)),
        ChatCompletionEvent(finished=Finished(finish_reason=FinishReason.FINISH_REASON_LENGTH)),
        ChatCompletionEvent(completed=Completed()),
    ]


class Recorded:
    """A backend that knows one stream; its readers take turns."""

    def __init__(self, stream: list[ChatCompletionEvent]) -> None:
        self._stream = stream

    async def stream(self, *_: object, **__: object) -> AsyncGenerator[ChatCompletionEvent, None]:
        """The events."""
        for event in self._stream:
            await asyncio.sleep(0)
            yield event


async def measure(streams: int, number: int, rounds: int) -> list[float]:
    """µs of processor time a chunk, of each round."""
    backend: Any = Recorded(events(number))
    listener = listen("127.0.0.1", 0)
    server = RestServer(create_app(backend, max_body_bytes=1 << 20), listener)
    server.start()
    port, found = listener.getsockname()[1], []
    for _ in range(rounds):
        began_s = time.process_time()
        reader = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--read", str(port), "--streams", str(streams), stdout=subprocess.PIPE
        )
        answer, _ = await asyncio.wait_for(reader.communicate(), WAIT_S)
        assert int(answer) >= streams * number, answer
        found.append((time.process_time() - began_s) / int(answer) * 1e6)
    await server.stop()
    return found


async def read(port: int, streams: int) -> int:
    """The number of chunks."""

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + BODY)
        count, kept = 0, b""
        while data := await reader.read(1 << 18):
            count += (kept + data).count(b"\ndata: ")
            kept = data[-6:]
        writer.close()
        return count

    return sum(await asyncio.gather(*(one() for _ in range(streams))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(asyncio.run(read(given.read, given.streams)))
        return
    with cProfile.Profile() as profile:
        if not given.profile:
            profile.disable()
        found = asyncio.run(measure(given.streams, given.events, given.rounds))
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    print(f"{statistics.median(found):.1f} µs a chunk (least {min(found):.1f}, most {max(found):.1f})")


if __name__ == "__main__":
    main()
