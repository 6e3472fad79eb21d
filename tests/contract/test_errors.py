"""Every row of the error table over a real gRPC server: code, reason, details, trailers, and their bounds."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, ResourceInfo, RetryInfo
from grpc_status import rpc_status

from support.server import TIMEOUT_S
from tokenwire.error_table import ERROR_TABLE
from tokenwire.errors import (
    ERROR_DOMAIN,
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
    InternalError,
    InvalidRequestError,
    MalformedMessageError,
    ModelLoadingError,
    ModelNotFoundError,
    QueueFullError,
    QueueTimeoutError,
    RateLimitedError,
    RequestIdConflictError,
    ResumeWindowError,
    SlowConsumerError,
    TokenwireError,
    UnauthenticatedError,
    Violation,
)
from tokenwire.rpc.interceptor import ErrorInterceptor
from tokenwire.rpc.status import DETAILS_KEY, MAX_DETAILS_BYTES, MAX_VIOLATIONS, PUSHBACK_KEY, status_of
from tokenwire.v1.chat_pb2 import (
    CancelChatCompletionRequest,
    CancelChatCompletionResponse,
    ChatCompletion,
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    ResumeChatCompletionRequest,
    StoredChatCompletion,
)
from tokenwire.v1.chat_pb2_grpc import ChatServiceServicer, ChatServiceStub, add_ChatServiceServicer_to_server
from tokenwire.v1.errors_pb2 import ErrorReason

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

ERRORS: list[TokenwireError] = [
    InvalidRequestError([Violation("top_p", "`top_p` must be in [0, 1]; got 1.7", "decimal_above_max_value")]),
    ContextLengthError(prompt_tokens=600, max_completion_tokens=10, context_length=512),
    MalformedMessageError("the bytes do not parse"),
    ModelNotFoundError("gpt-9"),
    ConstraintInvalidError([Violation("response_format.regex", "`(` is not closed")]),
    ConstraintFailedError("`logit_bias` bans every token that the answer allows", completion_id="chatcmpl-1"),
    CompletionNotFoundError("chatcmpl-1"),
    QueueFullError("1024 choices wait already", retry_after_s=1.5),
    ModelLoadingError("the model is loading", retry_after_s=2),
    DrainingError("the server is shutting down", retry_after_s=1),
    EngineFaultError("the engine process ended", completion_id="chatcmpl-1"),
    DeadlineUnattainableError(estimated_wait_s=9, time_left_s=2),
    QueueTimeoutError("`max_queue_time` is over", retry_after_s=1),
    DeadlineExceededError("the deadline of the call is over"),
    CompletionCancelledError("chatcmpl-1"),
    RequestIdConflictError("mine"),
    ResumeWindowError(after_sequence=3, first_sequence=9),
    SlowConsumerError("the reader is too slow", completion_id="chatcmpl-1", last_sequence=7),
    UnauthenticatedError("the API key is not known"),
    ForbiddenError("the API key does not allow the model"),
    RateLimitedError("used up", subject="key:alice/max_concurrent", retry_after_s=2.5),
    InternalError(),
]
M = TypeVar("M", bound=Message)
BY_NAME = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


class RaisingServicer(ChatServiceServicer):
    """Fails every call with one error; a stream after its first event."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def CreateChatCompletion(self, request: ChatCompletionRequest, context: Any) -> ChatCompletion:  # noqa: N802
        raise self.error

    async def StreamChatCompletion(  # noqa: N802
        self, request: ChatCompletionRequest, context: Any
    ) -> AsyncIterator[ChatCompletionEvent]:
        yield ChatCompletionEvent()
        raise self.error

    async def GetChatCompletion(  # noqa: N802
        self, request: GetChatCompletionRequest, context: Any
    ) -> StoredChatCompletion:
        raise self.error

    async def ResumeChatCompletion(  # noqa: N802
        self, request: ResumeChatCompletionRequest, context: Any
    ) -> AsyncIterator[ChatCompletionEvent]:
        raise self.error
        yield

    async def CancelChatCompletion(  # noqa: N802
        self, request: CancelChatCompletionRequest, context: Any
    ) -> CancelChatCompletionResponse:
        raise self.error


@asynccontextmanager
async def raising(error: Exception) -> AsyncIterator["ChatServiceAsyncStub"]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()])
    add_ChatServiceServicer_to_server(RaisingServicer(error), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ChatServiceStub(channel)
    finally:
        await server.stop(None)


async def failure(error: Exception) -> grpc.aio.AioRpcError:
    """What the unary call's caller gets."""
    async with raising(error) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateChatCompletion(ChatCompletionRequest(), timeout=TIMEOUT_S)
    return caught.value


def detail(failed: grpc.aio.AioRpcError, kind: type[M]) -> M:
    """The one detail of a kind."""
    status = rpc_status.from_call(failed)
    (packed,) = [packed for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    message = kind()
    packed.Unpack(message)
    return message


def test_every_reason_is_tested() -> None:
    assert {error.reason for error in ERRORS} == set(ERROR_TABLE) == set(ErrorReason.values()) - {0}


@BY_NAME
async def test_a_unary_call_gets_code_message_and_reason(error: TokenwireError) -> None:
    failed = await failure(error)
    info = detail(failed, ErrorInfo)
    assert failed.code() is ERROR_TABLE[error.reason].grpc_code
    assert failed.details() == str(error)
    assert (f"ERROR_REASON_{info.reason}", info.domain) == (ErrorReason.Name(error.reason), ERROR_DOMAIN)
    assert dict(info.metadata) == dict(error.metadata)


@BY_NAME
async def test_a_stream_fails_with_the_same_status_after_its_events(error: TokenwireError) -> None:
    async with raising(error) as stub:
        events = aiter(stub.StreamChatCompletion(ChatCompletionRequest(), timeout=TIMEOUT_S))
        assert await anext(events) == ChatCompletionEvent()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(events)
    assert rpc_status.from_call(caught.value) == rpc_status.from_call(await failure(error))


async def test_reading_a_stored_completion_fails_with_the_same_status() -> None:
    error = CompletionNotFoundError("chatcmpl-1")
    async with raising(error) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetChatCompletion(GetChatCompletionRequest(completion_id="chatcmpl-1"), timeout=TIMEOUT_S)
    assert rpc_status.from_call(caught.value) == rpc_status.from_call(await failure(error))


async def test_violations_carry_path_description_and_code() -> None:
    (violation,) = detail(await failure(ERRORS[0]), BadRequest).field_violations
    assert (violation.field, violation.reason) == ("top_p", "DECIMAL_ABOVE_MAX_VALUE")
    assert violation.description == "`top_p` must be in [0, 1]; got 1.7"


@pytest.mark.parametrize(
    ("error", "kind", "name"),
    [
        (ModelNotFoundError("gpt-9"), "tokenwire.v1.Model", "gpt-9"),
        (CompletionNotFoundError("chatcmpl-1"), "tokenwire.v1.ChatCompletion", "chatcmpl-1"),
    ],
)
async def test_what_is_not_found_is_named_as_a_resource(error: TokenwireError, kind: str, name: str) -> None:
    resource = detail(await failure(error), ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == (kind, name)


async def test_a_constraint_that_cannot_be_enforced_is_named_by_its_field() -> None:
    error = ConstraintInvalidError([Violation("tools[0].function.parameters", "`not` cannot be enforced")])
    (violation,) = detail(await failure(error), BadRequest).field_violations
    assert (violation.field, violation.description) == ("tools[0].function.parameters", "`not` cannot be enforced")


async def test_a_refusal_says_when_to_retry() -> None:
    failed = await failure(QueueFullError("full", retry_after_s=1.5))
    assert detail(failed, RetryInfo).retry_delay.ToMilliseconds() == 1500
    assert (failed.trailing_metadata() or {})[PUSHBACK_KEY] == "1500"


async def test_a_refusal_that_will_not_change_says_not_to_retry() -> None:
    failed = await failure(DeadlineUnattainableError(estimated_wait_s=9, time_left_s=2))
    assert (failed.trailing_metadata() or {})[PUSHBACK_KEY] == "-1"


async def test_a_rate_limit_says_whose_and_which_and_when_to_retry() -> None:
    failed = await failure(RateLimitedError("used up", subject="key:alice/max_concurrent", retry_after_s=2.5))
    (violation,) = detail(failed, QuotaFailure).violations
    assert violation.subject == "key:alice/max_concurrent"
    assert detail(failed, RetryInfo).retry_delay.ToMilliseconds() == 2500


async def test_many_violations_are_cut_and_counted() -> None:
    violations = [Violation(f"stop[{i}]", f"`stop[{i}]` must not be empty") for i in range(100)]
    failed = await failure(InvalidRequestError(violations))
    kept = detail(failed, BadRequest).field_violations
    assert [violation.field for violation in kept] == [f"stop[{i}]" for i in range(MAX_VIOLATIONS)]
    assert detail(failed, ErrorInfo).metadata["violations_left_out"] == "84"
    assert (failed.details() or "").endswith("(and 84 more violations)")


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError([Violation("é" * 10_000, "🙂" * 10_000)] * 100),
        ModelNotFoundError("模" * 1_000_000),
        CompletionNotFoundError("模" * 1_000_000),
        EngineFaultError("x" * 1_000_000),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_long_texts_of_the_caller_do_not_overflow_the_trailers(error: TokenwireError) -> None:
    failed = await failure(error)
    assert failed.code() is ERROR_TABLE[error.reason].grpc_code
    assert len(dict(status_of(error).trailers)[DETAILS_KEY]) <= MAX_DETAILS_BYTES
    assert detail(failed, ErrorInfo).domain == ERROR_DOMAIN


async def test_the_text_of_an_unknown_exception_is_logged_and_never_sent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        failed = await failure(RuntimeError("secret-path"))
    assert failed.code() is grpc.StatusCode.INTERNAL
    assert detail(failed, ErrorInfo).reason == "INTERNAL"
    assert "secret-path" not in repr(failed) + str(failed.trailing_metadata())
    assert "secret-path" in caplog.text
    assert "Traceback" in caplog.text
