"""Both clients against a scripted server that loses connections: resume, and what leaving a stream tells the server."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from support.scripted_server import (
    WAIT_S,
    Cut,
    Failure,
    ScriptedServer,
    Step,
    UntilCancelled,
    answer,
    heartbeat,
)
from tokenwire.v1.chat_pb2 import ChatCompletion, CompletionState, OnDisconnect
from tokenwire_client import (
    AsyncClient,
    Client,
    CompletionNotFoundError,
    DeadlineExceededError,
    EngineFaultError,
    SlowConsumerError,
    TokenwireClientError,
    UnavailableError,
    _course,
)


@dataclass
class Seen:
    """What a reader had."""

    text: str = ""
    completion: ChatCompletion | None = None
    error: TokenwireClientError | None = None


def read_sync(server: ScriptedServer, *, resume: bool = True, timeout_s: float = WAIT_S) -> Seen:
    seen = Seen()
    with Client(server.target, timeout_s=timeout_s) as client:
        try:
            for update in client.stream("hi", resume=resume):
                seen.text += update.text
                seen.completion = update.completion
        except TokenwireClientError as error:
            seen.error = error
    return seen


def read_async(server: ScriptedServer, *, resume: bool = True, timeout_s: float = WAIT_S) -> Seen:
    seen = Seen()

    async def read() -> None:
        async with AsyncClient(server.target, timeout_s=timeout_s, resume=resume) as client:
            async for update in client.stream("hi"):
                seen.text += update.text
                seen.completion = update.completion

    try:
        asyncio.run(read())
    except TokenwireClientError as error:
        seen.error = error
    return seen


Reader = Callable[..., Seen]
each_reader = pytest.mark.parametrize("read", [read_sync, read_async])


def cut_behind(steps: list[Step], *positions: int) -> list[Step]:
    """The steps, and the connection lost behind some of them."""
    return [
        each for position, step in enumerate(steps) for each in ([step, Cut()] if position in positions else [step])
    ]


@each_reader
def test_a_stream_goes_on_where_its_connection_was_lost(read: Reader) -> None:
    with ScriptedServer(cut_behind(answer("one ", "two ", "three"), 0, 2, 4)) as server:
        seen = read(server)
    assert (seen.error, seen.text) == (None, "one two three")
    assert seen.completion is not None
    assert seen.completion.usage.total_tokens == 6
    assert [resume.after_sequence for resume in server.resumes] == [0, 2, 4]
    assert server.requests[0].execution_policy.on_disconnect == OnDisconnect.ON_DISCONNECT_DETACH
    assert not server.cancels


@each_reader
def test_without_resume_a_lost_connection_is_an_error(read: Reader) -> None:
    with ScriptedServer(cut_behind(answer("one ", "two"), 1)) as server:
        seen = read(server, resume=False)
    assert type(seen.error) is UnavailableError
    assert seen.text == "one "
    assert not server.resumes
    assert server.requests[0].execution_policy.on_disconnect == OnDisconnect.ON_DISCONNECT_UNSPECIFIED


@each_reader
def test_a_stream_that_the_server_does_not_keep_is_not_resumed(read: Reader) -> None:
    with ScriptedServer(cut_behind(answer("one"), 1), keeps=False) as server:
        seen = read(server)
    assert type(seen.error) is UnavailableError
    assert not server.resumes
    assert not server.cancels


@each_reader
def test_a_completion_that_is_gone_ends_the_stream_with_that(read: Reader) -> None:
    with ScriptedServer(cut_behind(answer("one "), 0, 1)) as server:
        server.forget_after = 2
        seen = read(server)
    assert isinstance(seen.error, CompletionNotFoundError)
    assert seen.text == "one "
    assert not server.cancels


@each_reader
def test_errors_of_the_server_are_not_resumed(read: Reader) -> None:
    fault = Failure(grpc.StatusCode.INTERNAL, details=[ErrorInfo(reason="ENGINE_FAULT")])
    with ScriptedServer([*answer("one")[:2], fault]) as server:
        seen = read(server)
    assert isinstance(seen.error, EngineFaultError)
    assert not server.resumes
    assert not server.cancels


@each_reader
def test_a_stream_that_was_read_too_slowly_ends_its_completion(read: Reader) -> None:
    slow = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details=[ErrorInfo(reason="SLOW_CONSUMER")])
    with ScriptedServer([*answer("one")[:2], slow]) as server:
        seen = read(server)
    assert isinstance(seen.error, SlowConsumerError)
    assert [cancel.completion_id for cancel in server.cancels] == ["chatcmpl-1"]


@each_reader
def test_the_deadline_bounds_all_calls_together_and_ends_the_completion(read: Reader) -> None:
    with ScriptedServer([*cut_behind(answer("one ")[:2], 1), UntilCancelled()]) as server:
        seen = read(server, timeout_s=1.0)
    assert isinstance(seen.error, DeadlineExceededError)
    assert len(server.resumes) == 1
    assert [cancel.completion_id for cancel in server.cancels] == ["chatcmpl-1"]


@each_reader
def test_a_server_that_stays_away_is_given_up(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_course, "MAX_OUTAGE_S", 0.5)
    cut = cut_behind(answer("one "), 1)
    with ScriptedServer([*cut[:2], *[Cut()] * 50, *cut[2:]]) as server:
        seen = read(server)
    assert type(seen.error) is UnavailableError
    assert [cancel.completion_id for cancel in server.cancels] == ["chatcmpl-1"]


STANDING: list[Step] = [*answer("one")[:2], UntilCancelled()]


def test_closing_a_stream_that_resumes_cancels_the_completion() -> None:
    with ScriptedServer(STANDING) as server, Client(server.target, resume=True) as client:
        stream = client.stream("hi")
        assert [next(stream).text, next(stream).text] == ["", "one"]
        stream.close()
        assert [cancel.completion_id for cancel in server.cancels] == ["chatcmpl-1"]


def test_leaving_the_loop_over_it_does_too() -> None:
    with ScriptedServer(STANDING) as server, Client(server.target, resume=True) as client:
        for update in client.stream("hi"):
            if update.text:
                break
        assert server.told_to_cancel.wait(WAIT_S)


def test_closing_the_client_does_too() -> None:
    with ScriptedServer(STANDING) as server:
        with Client(server.target, resume=True) as client:
            stream = client.stream("hi")
            assert [next(stream).text, next(stream).text] == ["", "one"]
        assert server.told_to_cancel.is_set()
        with pytest.raises(TokenwireClientError):
            next(stream)


async def test_leaving_the_loop_over_an_async_stream_and_the_client_does_too() -> None:
    with ScriptedServer(STANDING) as server:
        async with AsyncClient(server.target) as client:
            async for update in client.stream("hi", resume=True):
                if update.text:
                    break
        assert await asyncio.to_thread(server.told_to_cancel.wait, WAIT_S)


async def test_cancelling_the_task_cancels_the_completion() -> None:
    with ScriptedServer(STANDING) as server:
        async with AsyncClient(server.target) as client:
            has_text = asyncio.Event()

            async def read() -> None:
                async for update in client.stream("hi", resume=True):
                    if update.text:
                        has_text.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(has_text.wait(), WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [cancel.completion_id for cancel in server.cancels] == ["chatcmpl-1"]


async def test_a_stream_that_is_left_before_it_began_is_named_by_its_request() -> None:
    with ScriptedServer([UntilCancelled()]) as server:
        async with AsyncClient(server.target) as client:
            task = asyncio.create_task(anext(client.stream("hi", resume=True, request_id="mine")))
            assert await asyncio.to_thread(server.asked.wait, WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [cancel.request_id for cancel in server.cancels] == ["mine"]


def test_a_detached_completion_is_read_by_its_id_from_the_start_or_after_an_event() -> None:
    detach: Any = {"on_disconnect": "detach"}
    with ScriptedServer(answer("one ", "two ", "three")) as server, Client(server.target) as client:
        list(client.stream("hi", execution_policy=detach))
        *_, whole = client.resume("chatcmpl-1")
        rest = list(client.resume("chatcmpl-1", after_sequence=2))
        client.cancel("chatcmpl-1")
        with pytest.raises(CompletionNotFoundError):
            list(client.resume("chatcmpl-1"))
    assert whole.completion.choices[0].content == "one two three"
    assert "".join(update.text for update in rest) == rest[-1].completion.choices[0].content == "three"
    assert rest[-1].completion.usage.total_tokens == 6


async def test_the_async_client_reads_and_cancels_a_detached_completion_too() -> None:
    with ScriptedServer(answer("one ", "two")) as server:
        async with AsyncClient(server.target) as client:
            async with aclosing(client.stream("hi", execution_policy={"on_disconnect": "detach"})) as stream:
                await anext(stream)
            assert "".join([update.text async for update in client.resume("chatcmpl-1", after_sequence=1)]) == "two"
            cancelled = await client.cancel("chatcmpl-1")
    assert cancelled.state == CompletionState.COMPLETION_STATE_CANCELLED


def test_heartbeats_are_told_and_leave_the_answer_alone() -> None:
    steps = answer("one")
    waiting, running = CompletionState.COMPLETION_STATE_QUEUED, CompletionState.COMPLETION_STATE_RUNNING
    steps = [steps[0], heartbeat(0, waiting), Cut(), heartbeat(0, running), steps[1], heartbeat(1, running), *steps[2:]]
    with ScriptedServer(steps) as server, Client(server.target) as client:
        updates = list(client.stream("hi", resume=True))
    states = [update.heartbeat.state for update in updates if update.heartbeat]
    assert states == [waiting, waiting, running, running]
    assert updates[-1].completion.choices[0].content == "one"
