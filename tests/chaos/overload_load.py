"""The load of the overload proof: callers who wait for their answers, and callers who come whatever happens."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from google.protobuf.duration_pb2 import Duration

from tokenwire.v1.chat_pb2 import ChatCompletionRequest, ExecutionPolicy, Message, Role
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

WAIT_S = 300.0
QUIET = "quiet"
NUM_LOUD = 10


@dataclass(slots=True)
class Seen:
    """What callers saw in one phase. Times in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answers: list[tuple[float, float, int]] = field(default_factory=list)
    """From when to when an answer came, and its tokens. Only of those that came whole."""
    refused_s: list[float] = field(default_factory=list)
    """How long refusals took."""
    lost: int = 0
    """Accepted, and not completed."""
    estimates: list[tuple[float, float]] = field(default_factory=list)
    """What the first heartbeat in the queue estimated, and how long it then was to the first token."""
    first_token_s: dict[str, list[float]] = field(default_factory=dict)
    """By user."""

    def tokens_per_s(self, begin_s: float, end_s: float) -> float:
        """Tokens of whole answers between two times, as if they had come evenly."""
        tokens = 0.0
        for first_s, last_s, count in self.answers:
            inside_s = min(last_s, end_s) - max(first_s, begin_s)
            tokens += count * max(0.0, inside_s) / max(last_s - first_s, 1e-9)
        return tokens / (end_s - begin_s)


class Load:
    """Callers of one server."""

    def __init__(self, target: str, *, model: str, tokens: int) -> None:
        """Each answer has just so many tokens."""
        self._model = model
        self._tokens = tokens
        self._channel = grpc.aio.insecure_channel(target)
        self._stub: ChatServiceAsyncStub = ChatServiceStub(self._channel)
        self._number = 0

    async def close(self) -> None:
        await self._channel.close()

    async def steady(self, *, callers: int, seconds: float) -> tuple[Seen, float]:
        """Each caller asks again when it has its answer. Returns what they saw, and their tokens/s."""
        seen, begun_s = Seen(), time.monotonic()
        warm_s, end_s = begun_s + seconds / 4, begun_s + seconds * 5 / 4

        async def caller(user: str) -> None:
            while time.monotonic() < end_s:
                await self._ask(seen, user)

        await asyncio.gather(*(caller(f"user-{number % NUM_LOUD}") for number in range(callers)))
        return seen, seen.tokens_per_s(warm_s, end_s)

    async def flood(self, *, per_s: float, seconds: float) -> tuple[Seen, float]:
        """Requests come at a rate, whatever becomes of the others; a quiet caller asks for one at a time."""
        seen, begun_s, tasks = Seen(), time.monotonic(), set[asyncio.Task[None]]()
        warm_s, end_s = begun_s + seconds / 8, begun_s + seconds * 9 / 8

        async def quiet() -> None:
            while time.monotonic() < end_s:
                await self._ask(seen, QUIET)
                await asyncio.sleep(0.5)

        tasks.add(asyncio.create_task(quiet()))
        sent = 0
        while (now_s := time.monotonic()) < end_s:
            while sent < (now_s - begun_s) * per_s:
                sent += 1
                task = asyncio.create_task(self._ask(seen, f"user-{sent % NUM_LOUD}"))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(max(0.0, begun_s + (sent + 1) / per_s - time.monotonic()))
        await asyncio.wait_for(asyncio.gather(*tasks), WAIT_S)
        return seen, seen.tokens_per_s(warm_s, end_s)

    async def _ask(self, seen: Seen, user: str) -> None:
        self._number += 1
        request = ChatCompletionRequest(
            model=self._model,
            messages=[Message(role=Role.ROLE_USER, content=f"Tell me about the number {self._number}.")],
            max_completion_tokens=self._tokens,
            ignore_eos=True,
            user=user,
            execution_policy=ExecutionPolicy(max_queue_time=Duration(seconds=round(WAIT_S))),
        )
        begun_s, accepted, estimate = time.monotonic(), False, None
        first_token_s: float | None = None
        try:
            async for event in self._stub.StreamChatCompletion(request, timeout=WAIT_S):
                now_s = time.monotonic()
                accepted = True
                if estimate is None and event.heartbeat.HasField("estimated_wait"):
                    estimate = (now_s, event.heartbeat.estimated_wait.ToMilliseconds() / 1000)
                if first_token_s is None and event.HasField("delta"):
                    first_token_s = now_s
                if event.HasField("completed"):
                    seen.answers.append((first_token_s or begun_s, now_s, event.completed.usage.completion_tokens))
                    seen.outcomes["completed"] += 1
        except grpc.aio.AioRpcError as error:
            seen.outcomes[error.code().name] += 1
            if accepted:
                seen.lost += 1
            else:
                seen.refused_s.append(time.monotonic() - begun_s)
        if first_token_s is not None:
            seen.first_token_s.setdefault(user, []).append(first_token_s - begun_s)
            if estimate is not None:
                seen.estimates.append((estimate[1], first_token_s - estimate[0]))
