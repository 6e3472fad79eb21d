"""Completions that live by themselves, on a scripted engine: readers come, go, come back, and come twice."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from support.fake_engine import FakeEngine, answer, make_info, output
from support.streams import WAIT_S, begin, detached, fold, request, resume, take
from tokenwire.chat.caller import Caller
from tokenwire.chat.live.reader import ReaderLimits
from tokenwire.chat.live.retention import RetentionLimits
from tokenwire.chat.model import ServedModel
from tokenwire.chat.service import ChatService
from tokenwire.engine.protocol import EngineState, FinishReason, TokenLogprobs
from tokenwire.errors import (
    CompletionCancelledError,
    CompletionNotFoundError,
    DrainingError,
    EngineFaultError,
    InvalidRequestError,
    RequestIdConflictError,
    ResumeWindowError,
    SlowConsumerError,
)
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    ChatCompletionEvent,
    CompletionState,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)

COMPLETED = CompletionState.COMPLETION_STATE_COMPLETED
CANCELLED = CompletionState.COMPLETION_STATE_CANCELLED
RUNNING = CompletionState.COMPLETION_STATE_RUNNING
ALICE, BOB = Caller(key_id="alice"), Caller(key_id="bob")
TEXT = "Hello, how are you?"


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


@pytest.fixture
def engine(model: ServedModel) -> FakeEngine:
    """Answers every request with `TEXT`."""
    return FakeEngine(answer([*model.tokenizer.encode_text(TEXT), 2]))


@pytest.fixture
def make_service(engine: FakeEngine, model: ServedModel) -> Callable[..., ChatService]:
    def make(**options: Any) -> ChatService:
        service = ChatService(engine, max_queue=16, max_request_bytes=1000, **options)
        service.open(model)
        return service

    return make


@pytest.fixture
def service(make_service: Callable[..., ChatService]) -> ChatService:
    return make_service()


@pytest.fixture
def gate(engine: FakeEngine) -> asyncio.Event:
    """The engine gives two tokens, then waits for this event before the last ones."""
    gate = asyncio.Event()
    engine.script = [[output(300)], [output(301)], gate, [output(302)], [output(303, finish=FinishReason.LENGTH)]]
    return gate


async def read(service: ChatService, completion_id: str, caller: Caller = Caller()) -> StoredChatCompletion:  # noqa: B008
    return await service.get_chat_completion(GetChatCompletionRequest(completion_id=completion_id), caller=caller)


async def idle(service: ChatService) -> None:
    await asyncio.wait_for(service.wait_idle(), WAIT_S)


def kinds(events: list[ChatCompletionEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


# Coming back


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"logprobs": True, "top_logprobs": 2}, {"stop": ["are"]}])
async def test_a_stream_can_be_resumed_after_each_of_its_events(service: ChatService, fields: dict[str, Any]) -> None:
    events = await begin(service, detached(seed=5, **fields))
    name = events[0].started.id
    for position, event in enumerate(events):
        rest = await resume(service, name, event.sequence)
        assert fold([*events[: position + 1], *rest]) == fold(events)
    assert fold(await resume(service, name)) == fold(events)


async def test_deltas_that_were_merged_are_resumed_inside(service: ChatService) -> None:
    [started] = await begin(service, detached(logprobs=True), 1)
    await idle(service)
    merged = await resume(service, started.started.id)
    assert kinds(merged) == ["started", "delta", "finished", "completed"]
    for sequence in range(1, merged[1].sequence):
        head = await resume(service, started.started.id, None, 1)
        rest = await resume(service, started.started.id, sequence)
        assert rest[0].delta.logprobs == merged[1].delta.logprobs[sequence:]
        assert kinds(head) == ["started"]


async def test_prompt_log_probabilities_are_resumed(service: ChatService, engine: FakeEngine) -> None:
    scored = TokenLogprobs(-1.0)
    engine.script = [
        [output(prompt_logprobs=(scored,) * 2)],
        [output(prompt_logprobs=(scored,))],
        [output(300, finish=FinishReason.LENGTH)],
    ]
    events = await begin(service, detached(prompt_logprobs=0))
    for position, event in enumerate(events):
        rest = await resume(service, events[0].started.id, event.sequence)
        assert fold([*events[: position + 1], *rest]) == fold(events)
    assert len(fold(events).prompt_logprobs) == 3


async def test_tool_calls_are_resumed(service: ChatService, engine: FakeEngine, model: ServedModel) -> None:
    text = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    engine.script = answer([*model.tokenizer.encode_text(text), 2])
    asked = detached(tools=[{"function": {"name": "f", "parameters": '{"type": "object"}'}}])
    events = await begin(service, asked)
    for position, event in enumerate(events):
        rest = await resume(service, events[0].started.id, event.sequence)
        assert fold([*events[: position + 1], *rest]) == fold(events)
    [call] = fold(events).choices[0].tool_calls
    assert (call.function.name, call.function.arguments) == ("f", '{"a": 1}')


async def test_a_sequence_that_no_event_has_had_is_invalid(service: ChatService) -> None:
    events = await begin(service, detached())
    with pytest.raises(InvalidRequestError, match="got 99"):
        await resume(service, events[0].started.id, 99)
    with pytest.raises(InvalidRequestError, match="at least 0"):
        await resume(service, events[0].started.id, -1)


async def test_a_detached_completion_goes_on_without_readers(service: ChatService, gate: asyncio.Event) -> None:
    head = await begin(service, detached(), 2)
    assert service.active == 1
    gate.set()
    await idle(service)
    rest = await resume(service, head[0].started.id, head[-1].sequence)
    assert fold([*head, *rest]).usage.completion_tokens == 4


async def test_started_says_whether_a_stream_can_be_resumed(service: ChatService) -> None:
    assert (await begin(service, detached(), 1))[0].started.resumable
    assert not (await begin(service, request(), 1))[0].started.resumable


async def test_without_detaching_the_last_reader_ends_the_completion(
    service: ChatService, engine: FakeEngine, gate: asyncio.Event
) -> None:
    head = await begin(service, request(execution_policy={"retain_for": "10s"}), 2)
    assert service.active == 0
    assert [index for _, index in engine.aborts] == [None]
    with pytest.raises(CompletionCancelledError):
        await resume(service, head[0].started.id, head[-1].sequence)


async def test_two_readers_get_the_same(service: ChatService, gate: asyncio.Event) -> None:
    async with aclosing(service.stream(detached())) as first:
        head = await take(first, 2)
        second = asyncio.create_task(resume(service, head[0].started.id))
        third = asyncio.create_task(resume(service, head[0].started.id, head[-1].sequence))
        gate.set()
        rest = await take(first)
    assert fold([*head, *rest]) == fold(await second) == fold([*head, *await third])


async def test_a_reader_who_leaves_takes_no_outputs_from_the_other(service: ChatService, gate: asyncio.Event) -> None:
    async with aclosing(service.stream(request(request_id="a"))) as first:
        head = await take(first, 3)
        driver = asyncio.create_task(take(first))
        other = asyncio.create_task(begin(service, request(request_id="a")))
        await asyncio.sleep(0)
        driver.cancel()
        gate.set()
        assert fold(await other).usage.completion_tokens == 4
        assert kinds(head) == ["started", "delta", "delta"]


async def test_completions_belong_to_their_callers(service: ChatService, gate: asyncio.Event) -> None:
    [started] = await begin(service, detached(request_id="a"), 1, caller=ALICE)
    name = started.started.id
    with pytest.raises(CompletionNotFoundError):
        await resume(service, name, caller=BOB)
    with pytest.raises(CompletionNotFoundError):
        await read(service, name, BOB)
    for target in ({"completion_id": name}, {"request_id": "a"}):
        with pytest.raises(CompletionNotFoundError):
            await service.cancel(CancelChatCompletionRequest(**target), caller=BOB)
    gate.set()
    await idle(service)
    assert (await read(service, name, ALICE)).completion.usage.completion_tokens == 4


# The same request again


async def test_the_same_request_attaches_to_a_live_completion(
    service: ChatService, engine: FakeEngine, gate: asyncio.Event
) -> None:
    async with aclosing(service.stream(request(request_id="a"))) as first:
        await take(first, 2)
        again = asyncio.create_task(begin(service, request(request_id="a")))
        unary = asyncio.create_task(service.create(request(request_id="a")))
        gate.set()
        await take(first)
    assert (await again)[0].started.id == (await unary).id
    assert len(engine.requests) == 1


async def test_the_same_request_gets_the_retained_answer(service: ChatService, engine: FakeEngine) -> None:
    first = await service.create(request(request_id="a"))
    assert await service.create(request(request_id="a")) == first
    assert fold(await begin(service, request(request_id="a"))).choices == first.choices
    assert len(engine.requests) == 1


async def test_requests_that_come_while_the_first_is_prepared_share_it(
    service: ChatService, engine: FakeEngine
) -> None:
    long = request(request_id="a", messages=[{"role": "ROLE_USER", "content": "hi " * 20}], user="u" * 200)
    answers = await asyncio.gather(*(service.create(long) for _ in range(5)))
    assert len({each.id for each in answers}) == len(engine.requests) == 1


async def test_another_body_is_a_conflict(service: ChatService) -> None:
    await service.create(request(request_id="a"))
    with pytest.raises(RequestIdConflictError, match="'a'"):
        await service.create(request(request_id="a", seed=1))


async def test_the_id_of_another_caller_is_another_request(service: ChatService, engine: FakeEngine) -> None:
    first = await service.create(request(request_id="a"), caller=ALICE)
    second = await service.create(request(request_id="a", seed=1), caller=BOB)
    assert first.id != second.id
    assert len(engine.requests) == 2


async def test_after_a_failure_the_same_request_is_generated_anew(service: ChatService, engine: FakeEngine) -> None:
    script, engine.script = engine.script, [EngineFaultError("gone")]
    with pytest.raises(EngineFaultError):
        await service.create(request(request_id="a"))
    engine.script = script
    assert (await service.create(request(request_id="a"))).choices[0].content == TEXT


async def test_a_request_that_waits_for_one_that_is_refused_is_tried_by_itself(
    service: ChatService, engine: FakeEngine
) -> None:
    schema = {"json_schema": {"schema": '{"type": "object"}'}}
    refusals = iter(["no", None])
    engine.refusal = lambda grammar: next(refusals)
    first, second = await asyncio.gather(
        *(service.create(request(request_id="a", response_format=schema)) for _ in range(2)), return_exceptions=True
    )
    assert isinstance(first, InvalidRequestError)
    assert not isinstance(second, BaseException)


async def test_after_its_reader_has_gone_the_same_request_is_generated_anew(
    service: ChatService, engine: FakeEngine, gate: asyncio.Event
) -> None:
    await begin(service, request(request_id="a"), 2)
    gate.set()
    assert (await service.create(request(request_id="a"))).usage.completion_tokens == 4
    assert len(engine.requests) == 2


# Cancelling


@pytest.mark.parametrize("by_request_id", [False, True])
async def test_a_cancelled_completion_ends_for_all_its_readers(
    service: ChatService, engine: FakeEngine, gate: asyncio.Event, by_request_id: bool
) -> None:
    async with aclosing(service.stream(detached(request_id="a"))) as first:
        name = (await take(first, 3))[0].started.id
        second = asyncio.create_task(resume(service, name))
        await asyncio.sleep(0)
        target = {"request_id": "a"} if by_request_id else {"completion_id": name}
        told = await service.cancel(CancelChatCompletionRequest(**target))
        assert (told.completion_id, told.state, told.usage.completion_tokens) == (name, CANCELLED, 2)
        for reader in (take(first), second):
            with pytest.raises(CompletionCancelledError):
                await reader
        again = await service.cancel(CancelChatCompletionRequest(**target))
    assert again == told
    assert [index for _, index in engine.aborts] == [None]
    assert service.active == 0


async def test_cancelling_what_has_ended_tells_how(service: ChatService) -> None:
    name = (await service.create(request(request_id="a"))).id
    told = await service.cancel(CancelChatCompletionRequest(request_id="a"))
    assert (told.completion_id, told.state) == (name, COMPLETED)


async def test_cancelling_what_is_not_known_is_not_found(service: ChatService) -> None:
    for target in ({"completion_id": "chatcmpl-0"}, {"request_id": "a"}):
        with pytest.raises(CompletionNotFoundError):
            await service.cancel(CancelChatCompletionRequest(**target))
    with pytest.raises(InvalidRequestError):
        await service.cancel(CancelChatCompletionRequest())


# Reading


async def test_a_live_completion_is_read_as_far_as_it_has_come(
    service: ChatService, engine: FakeEngine, gate: asyncio.Event
) -> None:
    async with aclosing(service.stream(detached(user="u", metadata={"a": "b"}))) as events:
        head = await take(events, 3)
        live = await read(service, head[0].started.id)
    assert (live.state, live.user, dict(live.metadata)) == (RUNNING, "u", {"a": "b"})
    assert live.completion.choices[0].content == "".join(event.delta.content for event in head)
    assert live.completion.usage.completion_tokens == 2
    assert not live.HasField("expire_time")


async def test_a_retained_completion_is_read_whole(service: ChatService) -> None:
    completion = await service.create(request(execution_policy={"retain_for": "10s"}))
    retained = await read(service, completion.id)
    assert (retained.state, retained.completion) == (COMPLETED, completion)
    assert retained.expire_time.seconds >= completion.created.seconds + 10


async def test_a_completion_that_failed_gives_its_error(service: ChatService, engine: FakeEngine) -> None:
    engine.script = [[output(300)], EngineFaultError("gone")]
    with pytest.raises(EngineFaultError) as caught:
        await service.create(request(request_id="a"))
    with pytest.raises(EngineFaultError):
        await read(service, caught.value.completion_id)
    assert caught.value.tokens_emitted == 1


# Bounds


async def test_what_is_not_retained_is_forgotten_at_its_end(service: ChatService) -> None:
    completion = await service.create(request())
    with pytest.raises(CompletionNotFoundError):
        await resume(service, completion.id)
    assert service.load.retained_bytes == 0


async def test_a_retained_completion_is_forgotten_in_time(service: ChatService) -> None:
    completion = await service.create(request(request_id="a", execution_policy={"retain_for": "0.05s"}))
    assert service.load.retained_completions == 1
    async with asyncio.timeout(WAIT_S):
        while service.load.retained_completions:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
    with pytest.raises(CompletionNotFoundError):
        await resume(service, completion.id)
    assert (await service.create(request(request_id="a", seed=1))).id != completion.id


async def test_the_oldest_retained_completion_goes_first(make_service: Callable[..., ChatService]) -> None:
    service = make_service(retention=RetentionLimits(max_bytes=50_000))
    names = [(await service.create(request(request_id=f"{number}"))).id for number in range(20)]
    assert 0 < service.load.retained_completions < 20
    assert service.load.retained_bytes <= 50_000
    with pytest.raises(CompletionNotFoundError):
        await resume(service, names[0])
    assert fold(await resume(service, names[-1])).choices[0].content == TEXT


async def test_what_has_been_read_of_a_long_live_completion_goes_when_memory_is_scarce(
    make_service: Callable[..., ChatService], engine: FakeEngine, gate: asyncio.Event
) -> None:
    service = make_service(retention=RetentionLimits(max_bytes=4500))
    async with aclosing(service.stream(detached())) as events:
        head = await take(events, 3)
        with pytest.raises(ResumeWindowError) as caught:
            await resume(service, head[0].started.id, head[0].sequence)
        gate.set()
        rest = await take(events)
    assert caught.value.first_sequence > 0
    assert fold([*head, *rest]).usage.completion_tokens == 4


async def test_nothing_is_kept_of_a_plain_stream_that_is_read(service: ChatService, gate: asyncio.Event) -> None:
    async with aclosing(service.stream(request())) as events:
        await take(events, 3)
        overhead = service.load.retained_bytes
        gate.set()
        await take(events, 1)
        assert service.load.retained_bytes == overhead
    assert service.load.retained_bytes == 0


# Slow readers


async def test_a_reader_that_is_busy_for_too_long_is_given_up(
    make_service: Callable[..., ChatService], gate: asyncio.Event
) -> None:
    service = make_service(readers=ReaderLimits(max_write_s=0.02))
    errors: asyncio.Queue[SlowConsumerError] = asyncio.Queue()
    async with aclosing(service.stream(request(), on_slow=errors.put_nowait)) as events:
        head = await take(events, 2)
        error = await asyncio.wait_for(errors.get(), WAIT_S)
        with pytest.raises(SlowConsumerError):
            await anext(events)
    assert (error.completion_id, error.last_sequence) == (head[0].started.id, head[-1].sequence)
    assert service.active == 0


async def test_a_slow_reader_of_a_detached_completion_can_come_back(
    make_service: Callable[..., ChatService], gate: asyncio.Event
) -> None:
    service = make_service(readers=ReaderLimits(max_write_s=0.02))
    is_slow = asyncio.Event()
    async with aclosing(service.stream(detached(), on_slow=lambda error: is_slow.set())) as events:
        head = await take(events, 2)
        await asyncio.wait_for(is_slow.wait(), WAIT_S)
        with pytest.raises(SlowConsumerError) as caught:
            await anext(events)
    gate.set()
    rest = await resume(service, head[0].started.id, caught.value.last_sequence)
    assert fold([*head, *rest]).usage.completion_tokens == 4


async def test_what_waits_for_a_stalled_reader_is_bounded(
    make_service: Callable[..., ChatService], engine: FakeEngine
) -> None:
    engine.script = [*([output(300)] for _ in range(400)), asyncio.Event()]
    service = make_service(readers=ReaderLimits(heartbeat_s=0.01, max_unread_bytes=20_000))
    errors: asyncio.Queue[SlowConsumerError] = asyncio.Queue()
    async with aclosing(service.stream(request(), on_slow=errors.put_nowait)) as events:
        await take(events, 1)
        await asyncio.wait_for(errors.get(), WAIT_S)
        with pytest.raises(SlowConsumerError):
            await anext(events)
    assert service.load.retained_bytes == 0


async def test_what_waits_for_a_reader_when_it_comes_is_not_held_against_it(
    make_service: Callable[..., ChatService], engine: FakeEngine
) -> None:
    frame = [output(300, index=0), output(300, index=1)]
    last = [output(index=index, finish=FinishReason.LENGTH) for index in range(2)]
    engine.script = [*[frame] * 50, last]
    service = make_service(readers=ReaderLimits(heartbeat_s=0.005, max_unread_bytes=1000))
    [started] = await begin(service, detached(n=2), 1)
    await idle(service)
    asked = ResumeChatCompletionRequest(completion_id=started.started.id)
    events: list[ChatCompletionEvent] = []
    async for event in service.resume(asked):
        events.append(event)
        if len(events) % 25 == 0:
            await asyncio.sleep(0.01)  # long enough to be looked at
    assert fold(events).usage.completion_tokens == 100


# Heartbeats


async def test_quiet_streams_carry_heartbeats(make_service: Callable[..., ChatService], gate: asyncio.Event) -> None:
    service = make_service(readers=ReaderLimits(heartbeat_s=0.01))
    async with aclosing(service.stream(request())) as events:
        head = await take(events, 5)
        assert kinds(head)[-2:] == ["heartbeat", "heartbeat"]
        assert head[-1].heartbeat.state == RUNNING
        gate.set()
        rest = await take(events)
    assert fold([*head, *rest]).usage.completion_tokens == 4


async def test_heartbeats_of_a_resumed_stream_go_on_where_it_was(
    make_service: Callable[..., ChatService], gate: asyncio.Event
) -> None:
    service = make_service(readers=ReaderLimits(heartbeat_s=0.01))
    head = await begin(service, detached(), 3)
    [heartbeat] = await resume(service, head[0].started.id, head[-1].sequence, 1)
    assert (kinds([heartbeat]), heartbeat.sequence) == (["heartbeat"], head[-1].sequence)


async def test_heartbeats_tell_that_the_engine_recovers(
    make_service: Callable[..., ChatService], engine: FakeEngine, gate: asyncio.Event
) -> None:
    service = make_service(readers=ReaderLimits(heartbeat_s=0.01))
    async with aclosing(service.stream(request())) as events:
        await take(events, 3)
        engine.set_state(EngineState.RECOVERING)
        assert (await take(events, 1))[0].heartbeat.state == CompletionState.COMPLETION_STATE_RECOVERING


async def test_heartbeats_tell_the_place_in_the_queue(
    make_service: Callable[..., ChatService], engine: FakeEngine, gate: asyncio.Event
) -> None:
    service = make_service(readers=ReaderLimits(heartbeat_s=0.01), max_running=1)
    async with aclosing(service.stream(request())) as first, aclosing(service.stream(request(n=8))) as second:
        waiting = service.stream(request())
        for events in (first, second):
            await take(events, 1)
        [_, heartbeat] = await take(waiting, 2)
        assert heartbeat.heartbeat.state == CompletionState.COMPLETION_STATE_QUEUED
        assert heartbeat.heartbeat.queue_position >= 0
        assert heartbeat.heartbeat.HasField("queue_position")
        await waiting.aclose()


async def test_at_the_beginning_of_a_drain_each_stream_is_told(service: ChatService, gate: asyncio.Event) -> None:
    async with aclosing(service.stream(request())) as events:
        head = await take(events, 3)
        service.drain(grace_s=30)
        [heartbeat] = await take(events, 1)
        assert 0 < heartbeat.heartbeat.drain_in.ToMilliseconds() <= 30_000
        gate.set()
        rest = await take(events)
    assert fold([*head, heartbeat, *rest]).usage.completion_tokens == 4


async def test_what_is_left_after_the_grace_time_ends_with_draining(service: ChatService, gate: asyncio.Event) -> None:
    async with aclosing(service.stream(request())) as events:
        await take(events, 3)
        detached_name = (await begin(service, detached(), 1))[0].started.id
        service.drain(grace_s=0)
        await take(events, 1)
        service.cut_off()
        with pytest.raises(DrainingError):
            await anext(events)
    with pytest.raises(DrainingError):
        await resume(service, detached_name)
    await idle(service)


async def test_a_drain_waits_for_a_request_that_is_being_prepared(service: ChatService, engine: FakeEngine) -> None:
    asked = request(response_format={"json_schema": {"schema": '{"type": "object"}'}})
    preparing = asyncio.create_task(service.create(asked))
    await asyncio.sleep(0)  # it has been accepted, and its grammar is looked at
    service.drain(grace_s=30)
    await idle(service)
    assert preparing.done()
    assert (await preparing).choices[0].content == TEXT
