"""The queue as clients see it: refusals, retries, deadlines, budgets, order and fairness, over a real gRPC server."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from support.fake_engine import make_info
from support.server import TIMEOUT_S
from support.slotted_engine import SlottedEngine
from tokenwire.chat.model import ServedModel
from tokenwire.config import EngineConfig, QueueConfig, ServeConfig, StreamConfig
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import (
    ChatCompletionRequest,
    CompletionState,
    ExecutionPolicy,
    FinishReason,
    Heartbeat,
    Message,
    OnDeadline,
    Role,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub
from tokenwire.v1.operations_pb2 import GetLoadRequest, Load
from tokenwire.v1.operations_pb2_grpc import OperationsServiceStub

if TYPE_CHECKING:  # in the type stubs only
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

SLOTS = 2
MAX_QUEUE = 16
ENDLESS = 400
"""Tokens of an answer that outlasts what a test does beside it."""


@pytest.fixture
def engine(tiny_folder: Path) -> SlottedEngine:
    return SlottedEngine(info=make_info(tiny_folder), slots=SLOTS)


@pytest.fixture
def max_queue() -> int:
    return MAX_QUEUE


@pytest.fixture
def serve_config(serve_config: ServeConfig, max_queue: int) -> ServeConfig:
    return replace(
        serve_config,
        engine=EngineConfig(max_running=SLOTS),
        queue=QueueConfig(max_queue=max_queue),
        streams=StreamConfig(heartbeat_s=0.05),
        server=replace(serve_config.server, http_port=0),
    )


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> "ChatServiceAsyncStub":
    return ChatServiceStub(channel)


def ask(*, tokens: int = 5, user: str = "", stop: tuple[str, ...] = (), **policy: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model="tiny",
        messages=[Message(role=Role.ROLE_USER, content="hi")],
        max_completion_tokens=tokens,
        user=user,
        stop=stop,
        execution_policy=ExecutionPolicy(**policy),
    )


async def begin(stub: "ChatServiceAsyncStub", *requests: ChatCompletionRequest) -> list[Any]:
    """Streams that have been accepted, in this order."""
    streams = []
    for request in requests:
        stream: Any = stub.StreamChatCompletion(request)
        assert (await stream.read()).HasField("started")
        streams.append(stream)
    return streams


async def refusal(call: Any) -> tuple[ErrorInfo, RetryInfo, str]:
    """Reason, details and pushback of a call that ends with UNAVAILABLE."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(error)
    assert status is not None
    info, retry = ErrorInfo(), RetryInfo()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(retry)
    return info, retry, str(dict(error.trailing_metadata() or ()).get("grpc-retry-pushback-ms"))


def retrying(server: Server) -> grpc.aio.Channel:
    """A channel that retries by the usual service config."""
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "30s",
        "maxBackoff": "30s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
    return grpc.aio.insecure_channel(
        f"127.0.0.1:{server.port}", options=[("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 1)]
    )


async def load_of(channel: grpc.aio.Channel) -> Load:
    load: Load = await OperationsServiceStub(channel).GetLoad(GetLoadRequest(), timeout=TIMEOUT_S)
    return load


async def settled(channel: grpc.aio.Channel, engine: SlottedEngine) -> None:
    """Wait until nothing is held or live any more."""
    async with asyncio.timeout(TIMEOUT_S):
        while (load := await load_of(channel)).queued_tokens or load.waiting_choices or engine.live:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_full_queue_says_when_to_come_again(stub: "ChatServiceAsyncStub") -> None:
    await begin(stub, *[ask(tokens=ENDLESS)] * MAX_QUEUE)
    info, retry, pushback = await refusal(stub.CreateChatCompletion(ask()))
    assert info.reason == "QUEUE_FULL"
    assert retry.retry_delay.ToMilliseconds() == int(pushback) > 0


async def test_even_an_invalid_request_is_refused_by_a_full_queue_before_it_is_looked_at(
    stub: "ChatServiceAsyncStub",
) -> None:
    await begin(stub, *[ask(tokens=ENDLESS)] * MAX_QUEUE)
    info, _, _ = await refusal(stub.CreateChatCompletion(ChatCompletionRequest(model="tiny", temperature=9)))
    assert info.reason == "QUEUE_FULL"


async def test_a_clients_own_retry_policy_waits_for_the_pushback_and_gets_the_answer(
    server: Server, stub: "ChatServiceAsyncStub"
) -> None:
    live = await begin(stub, *[ask(tokens=ENDLESS)] * MAX_QUEUE)
    async with retrying(server) as channel:
        call = ChatServiceStub(channel).CreateChatCompletion(ask(), timeout=TIMEOUT_S)
        call.add_done_callback(lambda _: None)
        await refusal(stub.CreateChatCompletion(ask()))  # the other one is refused, too
        for stream in live:
            stream.cancel()
        completion = await call  # by its own back-off it would begin after 30 s
    assert completion.usage.completion_tokens == 5


async def test_what_cannot_begin_before_the_deadline_is_refused_at_once_and_not_retried(
    server: Server, stub: "ChatServiceAsyncStub", engine: SlottedEngine
) -> None:
    engine.load = engine.load._replace(decode_step_s=1.0)
    engine.step_s = 0.05
    live = await begin(stub, *[ask(tokens=ENDLESS)] * 8)
    engine.load = engine.load._replace(decode_step_s=1.0)
    info, _, pushback = await refusal(stub.CreateChatCompletion(ask(), timeout=TIMEOUT_S))
    assert (info.reason, pushback) == ("DEADLINE_UNATTAINABLE", "-1")
    assert int(info.metadata["estimated_wait_ms"]) > (TIMEOUT_S + 1) * 1000 > int(info.metadata["time_left_ms"])
    async with retrying(server) as channel:
        info, _, _ = await refusal(ChatServiceStub(channel).CreateChatCompletion(ask(), timeout=TIMEOUT_S))
    assert info.reason == "DEADLINE_UNATTAINABLE"
    waiting = stub.CreateChatCompletion(ask())  # without a deadline it waits
    for stream in live:
        stream.cancel()
    assert (await waiting).usage.completion_tokens == 5


async def test_max_queue_time_ends_the_wait(stub: "ChatServiceAsyncStub") -> None:
    live = await begin(stub, *[ask(tokens=ENDLESS)] * 4)
    soon = Duration(nanos=30_000_000)
    info, retry, _ = await refusal(stub.CreateChatCompletion(ask(max_queue_time=soon)))
    assert info.reason == "QUEUE_TIMEOUT"
    assert retry.retry_delay.ToMilliseconds() > 0
    for stream in live:
        stream.cancel()
    begun = await stub.CreateChatCompletion(ask(max_queue_time=Duration(seconds=TIMEOUT_S)))
    assert begun.usage.completion_tokens == 5


async def test_a_time_budget_ends_the_answer_with_what_there_is(
    stub: "ChatServiceAsyncStub", engine: SlottedEngine
) -> None:
    completion = await stub.CreateChatCompletion(ask(tokens=ENDLESS, time_budget=Duration(nanos=100_000_000)))
    [choice] = completion.choices
    assert choice.finish_reason == FinishReason.FINISH_REASON_TIME_LIMIT
    assert 0 < completion.usage.completion_tokens < ENDLESS
    assert not engine.live


async def test_a_budget_that_ends_in_the_queue_gives_an_empty_answer(stub: "ChatServiceAsyncStub") -> None:
    await begin(stub, *[ask(tokens=ENDLESS)] * 4)
    completion = await stub.CreateChatCompletion(ask(time_budget=Duration(nanos=30_000_000)))
    [choice] = completion.choices
    assert (choice.finish_reason, choice.content) == (FinishReason.FINISH_REASON_TIME_LIMIT, "")


async def test_text_held_back_for_a_stop_string_is_in_the_cut_answer(
    stub: "ChatServiceAsyncStub", engine: SlottedEngine, tiny_folder: Path
) -> None:
    text = "the dog dreams of the fox"
    engine.tokens = tuple(ServedModel.load("tiny", make_info(tiny_folder)).tokenizer.encode_text(text))
    engine.step_s = 0.4 / len(engine.tokens)
    asked = ask(tokens=len(engine.tokens), stop=(text + "!",), time_budget=Duration(nanos=200_000_000))
    [choice] = (await stub.CreateChatCompletion(asked)).choices
    assert choice.finish_reason == FinishReason.FINISH_REASON_TIME_LIMIT
    assert choice.stop_match == ""
    assert choice.content
    assert text.startswith(choice.content)


async def test_a_partial_answer_arrives_before_the_deadline(stub: "ChatServiceAsyncStub") -> None:
    asked = ask(tokens=ENDLESS, on_deadline=OnDeadline.ON_DEADLINE_RETURN_PARTIAL)
    completion = await stub.CreateChatCompletion(asked, timeout=0.6)
    assert completion.choices[0].finish_reason == FinishReason.FINISH_REASON_TIME_LIMIT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateChatCompletion(ask(tokens=ENDLESS), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_over_rest_a_time_limit_is_length(server: Server) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": ENDLESS,
        "execution_policy": {"time_budget_s": 0.1},
    }
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=TIMEOUT_S) as http:
        answer = (await http.post("/v1/chat/completions", json=body)).json()
        assert answer["choices"][0]["finish_reason"] == "length"
        body["execution_policy"] = {"max_queue_time_s": -1}
        refused = await http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "execution_policy.max_queue_time_s"


async def test_heartbeats_tell_the_position_and_the_estimate(stub: "ChatServiceAsyncStub") -> None:
    live = await begin(stub, *[ask(tokens=ENDLESS)] * 6)
    last = live[-1]
    async with asyncio.timeout(TIMEOUT_S):
        while not (event := await last.read()).HasField("heartbeat"):
            pass
    heartbeat: Heartbeat = event.heartbeat
    assert heartbeat.state == CompletionState.COMPLETION_STATE_QUEUED
    assert heartbeat.queue_position == 6 - SLOTS - 1 - 1  # one more than runs is in the engine, and it is the last
    assert heartbeat.estimated_wait.ToMilliseconds() > 0


async def test_an_urgent_request_overtakes_those_that_wait(stub: "ChatServiceAsyncStub") -> None:
    live = await begin(stub, *[ask(tokens=ENDLESS)] * 6)
    urgent = await stub.CreateChatCompletion(ask(priority=1), timeout=TIMEOUT_S)
    assert urgent.usage.completion_tokens == 5
    assert not any(stream.done() for stream in live)


async def test_one_user_among_many_requests_of_another_is_next(
    stub: "ChatServiceAsyncStub", engine: SlottedEngine
) -> None:
    loud = await begin(stub, *[ask(tokens=ENDLESS, user="loud")] * (MAX_QUEUE - 2))
    [quiet] = await begin(stub, ask(user="quiet"))
    num_before = len(engine.requests)
    loud[0].cancel()
    async with asyncio.timeout(TIMEOUT_S):
        while not (await quiet.read()).HasField("completed"):
            pass
    assert engine.requests[num_before].sampling.max_tokens == 5


@pytest.mark.parametrize("max_queue", [64])
async def test_overload_refuses_what_is_too_much_finishes_the_rest_and_leaks_nothing(
    server: Server, channel: grpc.aio.Channel, stub: "ChatServiceAsyncStub", engine: SlottedEngine
) -> None:
    outcomes: Counter[str] = Counter()
    is_over = asyncio.Event()

    async def ask_once(user: str) -> None:
        try:
            completion = await stub.CreateChatCompletion(ask(tokens=20, user=user))
        except grpc.aio.AioRpcError as error:
            outcomes[f"{user} {error.code().name}"] += 1
            await asyncio.sleep(0.2)
        else:
            assert completion.usage.completion_tokens == 20
            outcomes[f"{user} {'late' if is_over.is_set() else 'OK'}"] += 1

    async def loud() -> None:
        while not is_over.is_set():
            await ask_once("loud")

    async def quiet() -> None:
        for _ in range(10):
            await ask_once("quiet")
        is_over.set()

    async with asyncio.timeout(3 * TIMEOUT_S):
        await asyncio.gather(*[loud() for _ in range(120)], quiet())
    assert set(outcomes) == {"loud OK", "loud UNAVAILABLE", "loud late", "quiet OK"}
    # One that asks for one at a time, beside 120: each time it waits for what the engine has, and for no more.
    assert outcomes["quiet OK"] == 10
    assert outcomes["loud OK"] < 10 * 10
    await settled(channel, engine)
    assert server.service.active == 0
