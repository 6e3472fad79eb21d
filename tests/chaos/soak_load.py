"""The load of the soak: callers of many kinds, each of which counts what it saw."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc
import httpx
from google.protobuf.json_format import MessageToDict

from chaos.soak_cases import BAD_REQUESTS, WAIT_S, Case, differences, is_refusal
from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1 import chat_pb2
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub


class SoakLoad:
    """Callers until `stop()`. `counts` has what they saw; `failures` what should not have been."""

    def __init__(self, target: str, url: str, cases: Sequence[Case], *, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._channel = grpc.aio.insecure_channel(target)
        self._stub: ChatServiceAsyncStub = ChatServiceStub(self._channel)
        self._http = httpx.AsyncClient(base_url=url, timeout=WAIT_S)
        self._cases = cases
        self._chance = random.Random(seed)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, callers: int) -> None:
        """So many callers of the plain kind, and fewer of each other."""
        few = max(1, callers // 4)
        kinds = {
            "read": (self._read, callers),
            "cancel": (self._cancel, few),
            "resume": (self._resume, few),
            "repeat": (self._repeat, few),
            "dawdle": (self._dawdle, few),
            "disconnect": (self._disconnect, few),
            "misbehave": (self._misbehave, 1),
        }
        calls = [self._call_again(name, kind) for name, (kind, count) in kinds.items() for _ in range(count)]
        self._tasks = [asyncio.create_task(call) for call in calls]

    async def stop(self) -> None:
        """No new calls; wait for those that are under way."""
        self._stopping.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), WAIT_S)
        await self._channel.close()
        await self._http.aclose()

    async def _call_again(self, name: str, kind: Callable[[Case], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await kind(self._chance.choice(self._cases))
                self.counts[name] += 1
            except grpc.aio.AioRpcError as error:
                self.failures[f"{name}: {error.code().name}: {error.details()}"[:160]] += 1
            except Exception as error:  # every surprise is told at the end
                self.failures[f"{name}: {type(error).__name__}: {error}"[:160]] += 1

    def _compare(self, folder: StreamFolder, case: Case, who: str) -> None:
        if difference := differences(folder, case):
            self.failures[f"{who}: another answer: {difference}"] += 1

    async def _read(self, case: Case) -> None:
        """Reads a stream to its end."""
        folder, checker = StreamFolder(), StreamChecker()
        async for event in self._stub.StreamChatCompletion(case.request, timeout=WAIT_S):
            checker.check(event)
            folder.add(event)
        checker.end()
        self._compare(folder, case, "read")

    async def _cancel(self, case: Case) -> None:
        """Cancels after some events, by the RPC or by its id."""
        most, by_id = self._chance.randrange(1, 20), self._chance.random() < 0.5
        call = self._stub.StreamChatCompletion(case.request, timeout=WAIT_S)
        completion_id, seen = "", 0
        with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            async for event in call:
                completion_id = completion_id or event.started.id
                seen += 1
                if seen < most:
                    continue
                if not by_id:
                    call.cancel()
                    break
                target = chat_pb2.CancelChatCompletionRequest(completion_id=completion_id)
                await self._stub.CancelChatCompletion(target, timeout=WAIT_S)

    async def _resume(self, case: Case) -> None:
        """Leaves a detached stream again and again, and goes on with it."""
        request = chat_pb2.ChatCompletionRequest()
        request.CopyFrom(case.request)
        request.execution_policy.on_disconnect = chat_pb2.ON_DISCONNECT_DETACH
        request.execution_policy.retain_for.FromSeconds(20)
        folder, completion_id, last, done = StreamFolder(), "", -1, False
        while not done:
            again = chat_pb2.ResumeChatCompletionRequest(completion_id=completion_id, after_sequence=last)
            call = (
                self._stub.ResumeChatCompletion(again, timeout=WAIT_S)
                if completion_id
                else self._stub.StreamChatCompletion(request, timeout=WAIT_S)
            )
            most = self._chance.randrange(1, 30)
            async for event in call:
                if event.HasField("heartbeat"):
                    continue
                completion_id = completion_id or event.started.id
                folder.add(event)
                last, most, done = event.sequence, most - 1, event.HasField("completed")
                if not most:
                    break
            call.cancel()
        self.counts["resumed to the end"] += 1
        self._compare(folder, case, "resume")

    async def _repeat(self, case: Case) -> None:
        """Asks twice with one request id: one completion."""
        request = chat_pb2.ChatCompletionRequest()
        request.CopyFrom(case.request)
        request.request_id = f"soak-{self._chance.getrandbits(64):x}"
        request.execution_policy.retain_for.FromSeconds(5)
        calls = [self._stub.CreateChatCompletion(request, timeout=WAIT_S) for _ in range(2)]
        answers = [await call for call in calls]
        if len({answer.id for answer in answers}) != 1:
            self.failures["repeat: generated twice"] += 1

    async def _dawdle(self, case: Case) -> None:
        """Reads slowly, and goes away in the end."""
        call = self._stub.StreamChatCompletion(case.request, timeout=WAIT_S)
        for _ in range(4):
            if await call.read() is grpc.aio.EOF:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 1.0)
        call.cancel()

    async def _disconnect(self, case: Case) -> None:
        """Streams over REST, to the end or not."""
        most = self._chance.choice((3, 10, 1000))
        content = MessageToDict(case.request)["messages"][0]["content"]
        body = {"model": case.request.model, "stream": True, "max_tokens": 32, "seed": case.request.seed}
        body["messages"] = [{"role": "user", "content": content}]
        async with self._http.stream("POST", "/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                self.failures[f"disconnect: HTTP {answer.status_code}"] += 1
                return
            async for line in answer.aiter_lines():
                most -= line.startswith("data: ")
                if line.startswith('data: {"error"'):
                    self.failures[f"disconnect: {json.loads(line[6:])['error']['code']}"] += 1
                if not most:
                    return

    async def _misbehave(self, case: Case) -> None:
        """Sends what must be refused, and bytes that are no message."""
        request = chat_pb2.ChatCompletionRequest()
        request.CopyFrom(case.request)
        bad = self._chance.choice(BAD_REQUESTS)
        for name, value in bad.items():
            if isinstance(value, list):
                getattr(request, name).extend(value)
            else:
                setattr(request, name, value)
        raw: Callable[..., Awaitable[bytes]] = self._channel.unary_unary(
            "/tokenwire.v1.ChatService/CreateChatCompletion"
        )
        garbage = self._chance.randbytes(self._chance.randrange(1, 64))
        for data in (request.SerializeToString(), b"\x0a\xff" + garbage):
            try:
                await raw(data, timeout=WAIT_S)
                self.failures[f"misbehave: accepted {bad}"] += 1
            except grpc.aio.AioRpcError as error:
                if not is_refusal(error):
                    self.failures[f"misbehave: {error.code().name}: {error.details()}"] += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), 0.5)
