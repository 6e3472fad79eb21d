"""Both clients against a scripted server: streams, errors, retries, cancellation. One test body serves both."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import aclosing, closing

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo

from support.scripted_server import WAIT_S, Failure, ScriptedServer, UntilCancelled, answer, call, thought
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, Delta, FinishReason
from tokenwire.v1.errors_pb2 import ErrorReason
from tokenwire_client import (
    AsyncClient,
    AuthenticationError,
    BrokenStreamError,
    CallCancelledError,
    Client,
    CompletionCancelledError,
    CompletionNotFoundError,
    ConstraintFailedError,
    ConstraintInvalidError,
    ContextLengthError,
    DeadlineExceededError,
    DeadlineUnattainableError,
    DrainingError,
    EngineFaultError,
    ForbiddenError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitedError,
    RequestIdConflictError,
    ResourceExhaustedError,
    ResumeWindowError,
    SlowConsumerError,
    TokenwireClientError,
    Transport,
    UnavailableError,
    assistant,
    function,
    tool,
    user,
)

NO_RETRIES = Transport(retries=False)


def chat_sync(target: str) -> ChatCompletion:
    with Client(target, timeout_s=WAIT_S, transport=NO_RETRIES) as client:
        return client.chat("hi")


def stream_sync(target: str) -> ChatCompletion:
    with Client(target, timeout_s=WAIT_S, transport=NO_RETRIES) as client:
        return [update.completion for update in client.stream("hi")][-1]


def chat_async(target: str) -> ChatCompletion:
    async def call() -> ChatCompletion:
        async with AsyncClient(target, timeout_s=WAIT_S, transport=NO_RETRIES) as client:
            return await client.chat("hi")

    return asyncio.run(call())


def stream_async(target: str) -> ChatCompletion:
    async def call() -> ChatCompletion:
        async with AsyncClient(target, timeout_s=WAIT_S, transport=NO_RETRIES) as client:
            return [update.completion async for update in client.stream("hi")][-1]

    return asyncio.run(call())


Call = Callable[[str], ChatCompletion]
each_call = pytest.mark.parametrize("call", [chat_sync, stream_sync, chat_async, stream_async])
each_stream = pytest.mark.parametrize("stream", [stream_sync, stream_async])


@each_call
def test_all_ways_to_call_give_the_same_answer(call: Call) -> None:
    with ScriptedServer(answer("one ", "two")) as server:
        completion = call(server.target)
    assert completion.choices[0].content == "one two"
    assert completion.usage.total_tokens == 5
    assert server.requests[0].model == "m"


def test_an_update_has_the_new_text_and_the_answer_so_far() -> None:
    with ScriptedServer(answer("one ", "two")) as server, Client(server.target) as client:
        seen = [(update.text, update.completion.choices[0].content) for update in client.stream("hi") if update.text]
    assert seen == [("one ", "one "), ("two", "one two")]


@pytest.mark.parametrize("ask", [chat_sync, stream_sync, chat_async, stream_async])
def test_reasoning_and_tool_calls_are_put_together(ask: Call) -> None:
    parts = [*call("call_1", "weather", '{"city"', ': "Bern"}'), *call("call_2", "time", "{}", index=1)]
    with ScriptedServer(answer(thought("look "), thought("it up"), "One moment.", *parts)) as server:
        (choice,) = ask(server.target).choices
    assert (choice.reasoning, choice.content) == ("look it up", "One moment.")
    assert [(made.id, made.function.name, made.function.arguments) for made in choice.tool_calls] == [
        ("call_1", "weather", '{"city": "Bern"}'),
        ("call_2", "time", "{}"),
    ]
    assert choice.finish_reason == FinishReason.FINISH_REASON_TOOL_CALLS


def test_an_update_tells_new_reasoning_and_new_text_apart() -> None:
    with ScriptedServer(answer(thought("hm"), "one")) as server, Client(server.target) as client:
        seen = [(update.reasoning, update.text) for update in client.stream("hi") if update.reasoning or update.text]
    assert seen == [("hm", ""), ("", "one")]


def test_an_answer_and_the_result_of_its_call_go_back_as_messages() -> None:
    script = answer(thought("look it up"), *call("call_1", "weather", "{}"))
    with ScriptedServer(script, answer("rain")) as server, Client(server.target) as client:
        choice = client.chat("What is the weather?", tools=[function("weather")]).choices[0]
        client.chat([user("What is the weather?"), assistant(choice), tool("rain", choice.tool_calls[0].id)])
    _, said, result = server.requests[1].messages
    assert (said.reasoning, list(said.tool_calls)) == ("look it up", list(choice.tool_calls))
    assert (result.content, result.tool_call_id) == ("rain", "call_1")


def test_a_stored_completion_is_read_again() -> None:
    with ScriptedServer(answer("one")) as server, Client(server.target, transport=NO_RETRIES) as client:
        completion = client.chat("hi", store=True, metadata={"team": "blue"}, user="ann")
        stored = client.completion(completion.id)
        with pytest.raises(CompletionNotFoundError):
            client.completion("chatcmpl-2")
    assert (stored.completion, dict(stored.metadata), stored.user) == (completion, {"team": "blue"}, "ann")


async def test_the_async_client_reads_a_stored_completion_too() -> None:
    with ScriptedServer(answer("one")) as server:
        async with AsyncClient(server.target, transport=NO_RETRIES) as client:
            completion = await client.chat("hi", store=True)
            assert (await client.completion(completion.id)).completion == completion


@each_stream
def test_a_stream_that_ends_ok_without_completed_raises(stream: Call) -> None:
    with (
        ScriptedServer(answer("one")[:-1]) as server,
        pytest.raises(BrokenStreamError, match="without `completed`"),
    ):
        stream(server.target)


@each_stream
def test_an_event_out_of_grammar_raises(stream: Call) -> None:
    with (
        ScriptedServer([ChatCompletionEvent(delta=Delta(content="early"))]) as server,
        pytest.raises(BrokenStreamError, match="before `started`"),
    ):
        stream(server.target)


def test_an_event_of_a_later_contract_passes() -> None:
    script = answer("one")
    # Field 99, a string: what an event kind that this client does not know looks like on the wire.
    later = ChatCompletionEvent.FromString(ChatCompletionEvent(sequence=1).SerializeToString() + b"\x9a\x06\x01x")
    for step in script[1:]:
        assert isinstance(step, ChatCompletionEvent)
        step.sequence += 1
    with ScriptedServer([script[0], later, *script[1:]]) as server:
        assert stream_sync(server.target).choices[0].content == "one"


ERRORS: list[tuple[grpc.StatusCode, str, type[TokenwireClientError]]] = [
    (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", InvalidRequestError),
    (grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", ContextLengthError),
    (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE", InvalidRequestError),
    (grpc.StatusCode.INVALID_ARGUMENT, "", InvalidRequestError),
    (grpc.StatusCode.INVALID_ARGUMENT, "CONSTRAINT_INVALID", ConstraintInvalidError),
    (grpc.StatusCode.FAILED_PRECONDITION, "CONSTRAINT_FAILED", ConstraintFailedError),
    (grpc.StatusCode.FAILED_PRECONDITION, "", TokenwireClientError),
    (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", ModelNotFoundError),
    (grpc.StatusCode.NOT_FOUND, "COMPLETION_NOT_FOUND", CompletionNotFoundError),
    (grpc.StatusCode.NOT_FOUND, "OF_A_LATER_CONTRACT", TokenwireClientError),
    (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", RequestIdConflictError),
    (grpc.StatusCode.OUT_OF_RANGE, "RESUME_WINDOW_EXPIRED", ResumeWindowError),
    (grpc.StatusCode.UNAUTHENTICATED, "BAD_API_KEY", AuthenticationError),
    (grpc.StatusCode.PERMISSION_DENIED, "MODEL_FORBIDDEN", ForbiddenError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "", ResourceExhaustedError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", RateLimitedError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "SLOW_CONSUMER", SlowConsumerError),
    (grpc.StatusCode.UNAVAILABLE, "", UnavailableError),
    (grpc.StatusCode.UNAVAILABLE, "QUEUE_FULL", QueueFullError),
    (grpc.StatusCode.UNAVAILABLE, "QUEUE_TIMEOUT", QueueTimeoutError),
    (grpc.StatusCode.UNAVAILABLE, "DEADLINE_UNATTAINABLE", DeadlineUnattainableError),
    (grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING", ModelLoadingError),
    (grpc.StatusCode.UNAVAILABLE, "DRAINING", DrainingError),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "", DeadlineExceededError),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", DeadlineExceededError),
    (grpc.StatusCode.CANCELLED, "", CallCancelledError),
    (grpc.StatusCode.CANCELLED, "COMPLETION_CANCELLED", CompletionCancelledError),
    (grpc.StatusCode.INTERNAL, "ENGINE_FAULT", EngineFaultError),
    (grpc.StatusCode.INTERNAL, "INTERNAL", TokenwireClientError),
]


def test_every_reason_of_the_contract_is_among_these() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name, value in ErrorReason.items() if value}
    assert reasons == {reason for _, reason, _ in ERRORS} - {"", "OF_A_LATER_CONTRACT"}


@pytest.mark.parametrize("call", [chat_sync, stream_async])
@pytest.mark.parametrize(("code", "reason", "kind"), ERRORS)
def test_a_status_becomes_a_typed_error(
    code: grpc.StatusCode, reason: str, kind: type[TokenwireClientError], call: Call
) -> None:
    details = [ErrorInfo(reason=reason, domain="tokenwire.dev", metadata={"key": "value"})] if reason else []
    with ScriptedServer([Failure(code, "told", details)]) as server, pytest.raises(TokenwireClientError) as caught:
        call(server.target)
    error = caught.value
    assert type(error) is kind
    assert (str(error), error.code, error.reason) == ("told", code, reason)
    assert error.metadata == ({"key": "value"} if reason else {})


def test_violations_and_the_time_to_retry_are_read_from_the_details() -> None:
    bad = BadRequest(field_violations=[BadRequest.FieldViolation(field="top_p", description="too big")])
    retry = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    script = [Failure(grpc.StatusCode.INVALID_ARGUMENT, details=[bad, retry])]
    with ScriptedServer(script) as server, pytest.raises(InvalidRequestError) as caught:
        chat_sync(server.target)
    assert [(violation.field, violation.description) for violation in caught.value.violations] == [("top_p", "too big")]
    assert caught.value.retry_after_s == 1.5


def test_a_limit_of_the_key_that_is_used_up_is_named() -> None:
    quota = QuotaFailure(violations=[QuotaFailure.Violation(subject="key:ann/requests", description="60 a minute")])
    retry = RetryInfo(retry_delay=Duration(seconds=20))
    details = [ErrorInfo(reason="RATE_LIMITED"), quota, retry]
    with (
        ScriptedServer([Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, details=details)]) as server,
        pytest.raises(RateLimitedError) as caught,
    ):
        chat_sync(server.target)
    (limit,) = caught.value.violations
    assert (limit.field, limit.description, caught.value.retry_after_s) == ("key:ann/requests", "60 a minute", 20)


def test_details_that_do_not_parse_leave_the_plain_status() -> None:
    script = [Failure(grpc.StatusCode.NOT_FOUND, "told", trailers={"grpc-status-details-bin": b"\xff\xff"})]
    with ScriptedServer(script) as server, pytest.raises(TokenwireClientError, match="told") as caught:
        chat_sync(server.target)
    assert caught.value.reason == ""


def test_an_engine_fault_in_the_middle_of_a_stream_raises_after_the_text() -> None:
    script = [*answer("one")[:2], Failure(grpc.StatusCode.INTERNAL, details=[ErrorInfo(reason="ENGINE_FAULT")])]
    with ScriptedServer(script) as server, Client(server.target) as client:
        stream = client.stream("hi")
        assert [next(stream).text, next(stream).text] == ["", "one"]
        with pytest.raises(EngineFaultError):
            next(stream)


FULL = Failure(grpc.StatusCode.UNAVAILABLE, "full", trailers={"grpc-retry-pushback-ms": "1"})


def test_unavailable_is_tried_again_and_succeeds() -> None:
    with ScriptedServer([FULL], [FULL], answer("one")) as server, Client(server.target) as client:
        assert client.chat("hi").choices[0].content == "one"
        assert len(server.requests) == 3


async def test_the_async_client_tries_a_stream_again_too() -> None:
    with ScriptedServer([FULL], answer("one")) as server:
        async with AsyncClient(server.target) as client:
            assert "".join([update.text async for update in client.stream("hi")]) == "one"
        assert len(server.requests) == 2


def test_attempts_of_one_call_have_one_request_id_and_calls_have_different_ones() -> None:
    with ScriptedServer([FULL], answer("one")) as server, Client(server.target) as client:
        client.chat("hi")
        list(client.stream("hi"))
        client.chat("hi", request_id="mine")
    first, again, other, given = (request.request_id for request in server.requests)
    assert first == again != other
    assert first
    assert other
    assert given == "mine"


def test_a_server_that_forbids_retries_is_asked_once() -> None:
    never = Failure(grpc.StatusCode.UNAVAILABLE, "never", trailers={"grpc-retry-pushback-ms": "-1"})
    with ScriptedServer([never], answer("one")) as server, Client(server.target) as client:
        with pytest.raises(UnavailableError, match="never"):
            client.chat("hi")
        assert len(server.requests) == 1


def test_a_large_request_is_tried_again_too() -> None:
    with ScriptedServer([FULL], answer("one")) as server, Client(server.target) as client:
        client.chat("x" * 1_000_000)
        assert len(server.requests[-1].messages[0].content) == 1_000_000


def test_no_server_is_unavailable() -> None:
    with ScriptedServer(answer("one")) as server:
        target = server.target
    with pytest.raises(UnavailableError):
        chat_sync(target)


def test_the_deadline_ends_a_call() -> None:
    with ScriptedServer([UntilCancelled()]) as server, Client(server.target, timeout_s=0.2) as client:
        with pytest.raises(DeadlineExceededError):
            client.chat("hi")
        with pytest.raises(DeadlineExceededError):
            list(client.stream("hi"))


async def test_the_deadline_of_a_call_wins_over_the_clients() -> None:
    with ScriptedServer([UntilCancelled()]) as server:
        async with AsyncClient(server.target, timeout_s=WAIT_S) as client:
            with pytest.raises(DeadlineExceededError):
                await client.chat("hi", timeout_s=0.2)


def test_the_deadline_of_a_call_holds_for_the_lookup_of_the_model_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(target, timeout_s=None, transport=NO_RETRIES) as client, pytest.raises(DeadlineExceededError):
            client.chat("hi", timeout_s=0.2)


async def test_the_same_in_asyncio() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncClient(target, timeout_s=None, transport=NO_RETRIES) as client:
            with pytest.raises(DeadlineExceededError):
                await client.chat("hi", timeout_s=0.2)


def test_closing_a_stream_early_cancels_the_call() -> None:
    script = [*answer("one")[:2], UntilCancelled()]
    with ScriptedServer(script) as server, Client(server.target) as client:
        stream = client.stream("hi")
        assert [next(stream).text, next(stream).text] == ["", "one"]
        stream.close()
        assert server.cancelled.wait(WAIT_S)


def test_leaving_the_loop_over_a_stream_cancels_the_call() -> None:
    with ScriptedServer([*answer("one")[:2], UntilCancelled()]) as server, Client(server.target) as client:
        for update in client.stream("hi"):
            if update.text:
                break
        assert server.cancelled.wait(WAIT_S)


async def test_closing_an_async_stream_early_cancels_the_call() -> None:
    with ScriptedServer([*answer("one")[:2], UntilCancelled()]) as server:
        async with AsyncClient(server.target) as client, aclosing(client.stream("hi")) as stream:
            assert [(await anext(stream)).text, (await anext(stream)).text] == ["", "one"]
        assert await asyncio.to_thread(server.cancelled.wait, WAIT_S)


async def test_cancelling_the_task_cancels_the_call() -> None:
    with ScriptedServer([*answer("one")[:2], UntilCancelled()]) as server:
        async with AsyncClient(server.target) as client:
            has_text = asyncio.Event()

            async def read() -> None:
                async for update in client.stream("hi"):
                    if update.text:
                        has_text.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(has_text.wait(), WAIT_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await asyncio.to_thread(server.cancelled.wait, WAIT_S)


def test_the_key_travels_as_a_bearer_token() -> None:
    with ScriptedServer(answer("one")) as server, Client(server.target, api_key="secret") as client:
        client.chat("hi")
    assert server.metadata[0]["authorization"] == "Bearer secret"
    assert "secret" not in repr(vars(client))


def test_the_default_model_is_asked_once() -> None:
    with ScriptedServer(answer("one")) as server, Client(server.target) as client:
        client.chat("hi")
        client.chat("hi")
        client.chat("hi", model="other")
    assert [request.model for request in server.requests] == ["m", "m", "other"]
    assert server.list_calls == 1


def test_one_async_client_serves_one_loop_after_the_other() -> None:
    with ScriptedServer(answer("one")) as server:
        client = AsyncClient(server.target)

        async def call() -> str:
            async with client:
                return (await client.chat("hi")).choices[0].content

        assert [asyncio.run(call()) for _ in range(3)] == ["one"] * 3


def test_the_small_calls_of_the_sync_client() -> None:
    with ScriptedServer(answer("one")) as server, Client(server.target) as client:
        assert [model.id for model in client.models()] == ["m"]
        assert client.model().context_length == 2048
        assert client.count_tokens("four").prompt_tokens == 4
        assert client.render_prompt("four").prompt == "four"
        assert client.detokenize(list(client.tokenize("text").token_ids)).text == "text"
        assert (client.health(), client.health("loading")) == ("SERVING", "NOT_SERVING")
        assert client.load().running_choices == 3
        with closing(client.watch_load(interval_s=0.1)) as watched:
            assert [next(watched).running_choices for _ in range(2)] == [3, 4]


async def test_the_small_calls_of_the_async_client() -> None:
    with ScriptedServer(answer("one")) as server:
        async with AsyncClient(server.target) as client:
            assert [model.id for model in await client.models()] == ["m"]
            assert (await client.model()).context_length == 2048
            assert (await client.count_tokens("four")).prompt_tokens == 4
            assert (await client.render_prompt("four")).prompt == "four"
            assert (await client.detokenize(list((await client.tokenize("text")).token_ids))).text == "text"
            assert (await client.health(), await client.health("loading")) == ("SERVING", "NOT_SERVING")
            assert (await client.load()).running_choices == 3
            async with aclosing(client.watch_load(interval_s=0.1)) as watched:
                assert [(await anext(watched)).running_choices for _ in range(2)] == [3, 4]
