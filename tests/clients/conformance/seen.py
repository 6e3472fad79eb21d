"""Whether the server has seen what it should."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

from clients.conformance.case import Case
from clients.conformance.twists import SeenCall
from support.fake_engine import FakeEngine
from support.serving import until
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, OnDisconnect

EARLY_S = 1
"""gRPC rounds a deadline up, to three digits."""
LATE_S = 10
"""Longest time that a call may be under way."""
METHODS = {
    "create": "CreateChatCompletion",
    "stream": "StreamChatCompletion",
    "resume": "ResumeChatCompletion",
    "get": "GetChatCompletion",
    "cancel": "CancelChatCompletion",
    "list_models": "ListModels",
}


async def problems(case: Case, engine: FakeEngine, calls: Sequence[SeenCall], command: Any) -> list[str]:
    """All that is wrong with the calls that a `Command` led to. Waits for what may come late."""
    seen = case.seen
    found = []
    if seen.cancelled and not await _happens(lambda: any(_cancels(calls))):
        found.append("the client did not cancel the completion")
    if seen.aborted and not await _happens(lambda: bool(engine.aborts)):
        found.append("the engine was not told to drop the completion")
    if seen.completions is not None and len(engine.requests) != seen.completions:
        found.append(f"the engine got {len(engine.requests)} requests, not {seen.completions}")
    found += _number_problems(case, calls)
    if seen.authorization is not None:
        wanted = seen.authorization.replace("$key", command.connection.api_key)
        was = {call.metadata.get("authorization", "") for call in calls}
        if was != {wanted}:
            found.append(f"the authorization was {was}, not {wanted!r}")
    for call in calls:
        if call.request is None or call.method != METHODS[case.call.method]:
            continue
        if case.call.method in ("create", "stream"):
            found += _request_problems(case, call.request, getattr(command, case.call.method))
        if seen.deadline_s is not None and not -EARLY_S < seen.deadline_s - (call.time_left_s or 0) < LATE_S:
            found.append(f"the call had {call.time_left_s} s left, not {seen.deadline_s}")
    ids = {call.request.request_id for call in calls if isinstance(call.request, ChatCompletionRequest)}
    if len(ids) > 1:
        found.append(f"the attempts have different request ids: {ids}")
    for request in _cancels(calls):
        if seen.cancelled and (named := request.WhichOneof("target")) != seen.cancelled:
            found.append(f"the client named the {named} to cancel, not the {seen.cancelled}")
    return found


async def _happens(condition: Callable[[], bool]) -> bool:
    async def holds() -> bool:
        return condition()

    try:
        await until(holds)
    except TimeoutError:
        return False
    return True


def _cancels(calls: Sequence[SeenCall]) -> list[Any]:
    """The requests to cancel."""
    return [call.request for call in calls if call.method == "CancelChatCompletion" and call.request is not None]


def _number_problems(case: Case, calls: Sequence[SeenCall]) -> Iterator[str]:
    attempts = {} if case.seen.attempts is None else {METHODS[case.call.method]: case.seen.attempts}
    for method, wanted in {**case.seen.calls, **attempts}.items():
        number = sum(call.method == method for call in calls)
        if number != wanted and not (wanted == "some" and number > 0):
            yield f"{method} was called {number} times, not {wanted}"


def _request_problems(case: Case, came: ChatCompletionRequest, given: ChatCompletionRequest) -> Iterator[str]:
    """What came is what was given, but for the id of the request and, where the client resumes, the policy."""
    yield from _id_problems(case.seen.request_id, came.request_id)
    wanted = ChatCompletionRequest()
    wanted.CopyFrom(given)
    if not wanted.request_id:
        wanted.request_id = came.request_id
    if case.call.auto_resume:
        wanted.execution_policy.on_disconnect = OnDisconnect.ON_DISCONNECT_DETACH
    if came != wanted:
        yield f"the request was\n{came}\nnot\n{wanted}"


def _id_problems(wanted: str, was: str) -> Iterator[str]:
    if wanted == "uuid":
        try:
            UUID(was)
        except ValueError:
            yield f"the request id {was!r} is no UUID"
    elif wanted and was != wanted:
        yield f"the request id is {was!r}, not {wanted!r}"
