"""Interceptors of the server of a case: what it has seen, and what it does that a real one never does."""

import asyncio
import builtins
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from clients.conformance.case import FILLER, Edit, Raise, Twist, filler, replaced
from tokenwire import errors
from tokenwire.error_table import ERROR_TABLE, ErrorKind
from tokenwire.errors import TokenwireError
from tokenwire.rpc.types import Context, Handler
from tokenwire.v1.chat_pb2 import ChatCompletionEvent
from tokenwire.v1.errors_pb2 import ErrorReason

RUNNER = ("x-conformance-runner", "1")
"""Metadata of the calls of the runner itself: they are neither noted nor twisted."""

ANSWERS = ("CreateChatCompletion", "StreamChatCompletion", "ResumeChatCompletion")
"""Methods that give an answer: these are cut and held."""

BEFORE_CUT_S = 0.1
"""For a client to read what it was sent before the cut. A case holds either way."""

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]


class FutureError(TokenwireError):
    """An error for a reason that this release does not know."""

    reason = ErrorReason.ERROR_REASON_INTERNAL

    def __init__(self, message: str, *, like: str) -> None:
        """`like` has the status code."""
        super().__init__(message)
        self._like = ERROR_TABLE[ErrorReason.Value(f"ERROR_REASON_{like}")]

    @property
    def kind(self) -> ErrorKind:
        return self._like

    @property
    def reason_name(self) -> str:
        return "OF_THE_FUTURE"


@dataclass(slots=True)
class SeenCall:
    """A call that reached the services."""

    method: str
    metadata: dict[str, str | bytes]
    request: Any = None
    """None: it was refused before it was read."""
    time_left_s: float | None = None
    """To its deadline, when it came."""
    answers: list[Any] = field(default_factory=list)
    """The events, or the one unary answer, as they were sent."""


class Twister(grpc.aio.ServerInterceptor):
    """The innermost interceptor: the real ones make the status of what it raises."""

    def __init__(
        self, twist: Twist, *, cut: Callable[[bool], None], cancel: Callable[[str], Awaitable[object]]
    ) -> None:
        """`cut` cuts all connections, and where it is told so for good; `cancel` ends a completion, by its id."""
        self._twist = twist
        self._cut = cut
        self._cancel = cancel
        self._cuts = list(twist.cut.after_events) if twist.cut else []
        self.calls: list[SeenCall] = []
        self.sent: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By kind of event; `call` and `cut 1` are such, too."""
        self._num_cuts = 0

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata or ())
        method = handler_call_details.method
        if handler is None or not method.startswith("/tokenwire.") or RUNNER[0] in metadata:
            return handler
        call = SeenCall(method.rpartition("/")[2], metadata)
        self.calls.append(call)
        readers = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream, call), *readers)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, call), *readers)

    def _stream(self, behavior: Any, call: SeenCall) -> Any:
        async def answer(request: Message, context: Context) -> AsyncIterator[ChatCompletionEvent]:
            self._note(call, request, context)
            plan = self._plan(call)
            async with aclosing(behavior(request, context)) as events:
                await plan.reach(0)
                async for given in events:
                    for event in plan.edited(given):
                        call.answers.append(event)
                        yield event
                        self.sent[event.WhichOneof("event") or "unknown"].set()
                        await plan.reach(len(call.answers))
                        if len(call.answers) == self._twist.cancel_after_events:
                            await self._cancel(call.answers[0].started.id)

        return answer

    def _unary(self, behavior: Any, call: SeenCall) -> Any:
        async def answer(request: Message, context: Context) -> Message:
            self._note(call, request, context)
            plan = self._plan(call)
            await plan.reach(0)
            given = await behavior(request, context)
            edited: Message
            (edited,) = plan.edited(given)
            call.answers.append(edited)
            return edited

        return answer

    def _note(self, call: SeenCall, request: Message, context: Context) -> None:
        call.request, call.time_left_s = request, context.time_remaining()
        self.sent["call"].set()

    def _plan(self, call: SeenCall) -> "_Plan":
        """What happens to a call."""
        raises = self._twist.raises
        if raises is not None and raises.of not in ("", call.method):
            raises = None
        if raises is not None and raises.times is not None:
            number = sum(other.method == call.method for other in self.calls)
            raises = raises if number <= raises.times else None
        cut_after = self._cuts.pop(0) if self._cuts and call.method in ANSWERS else None
        hold_after = self._twist.hold_after_events if call.method in ANSWERS else None
        return _Plan(list(self._twist.edits), raises, cut_after, hold_after, self._cut_connections)

    def _cut_connections(self) -> None:
        self._cut(self._twist.cut is not None and self._twist.cut.for_good)
        self._num_cuts += 1
        self.sent[f"cut {self._num_cuts}"].set()


@dataclass(slots=True)
class _Plan:
    """What happens to one call."""

    edits: list[Edit]
    raises: Raise | None
    cut_after: int | None
    hold_after: int | None
    cut: Callable[[], None]
    is_edited: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_edited = bool(self.edits)

    async def reach(self, num_events: int) -> None:
        """So many events have been sent."""
        if self.raises is not None and num_events == self.raises.after_events:
            raise _error(self.raises)
        if num_events == self.hold_after:
            await asyncio.Event().wait()
        if num_events == self.cut_after:
            await asyncio.sleep(BEFORE_CUT_S if num_events else 0)
            self.cut()
            await asyncio.Event().wait()  # the connection is gone, and the call with it

    def edited(self, given: Any) -> Iterator[Any]:
        """What is sent in place of an answer."""
        kind = given.WhichOneof("event") if isinstance(given, ChatCompletionEvent) else "answer"
        if self.is_edited and kind != "answer":
            given = _merged(given, Edit())
            given.sequence *= 10  # room for those that stand between
        edit = next((edit for edit in self.edits if kind in (edit.drop, edit.change, edit.before, edit.after)), None)
        if edit is None:
            yield given
            return
        self.edits.remove(edit)
        if edit.change:
            yield _merged(given, edit)
            return
        if edit.before:
            yield _merged(ChatCompletionEvent(sequence=given.sequence - 1), edit)
        if not edit.drop:
            yield given
        if edit.after:
            yield _merged(ChatCompletionEvent(sequence=given.sequence + ("heartbeat" not in edit.event)), edit)


def _merged(message: Any, edit: Edit) -> Any:
    """A copy with what the edit has."""
    copy = type(message).FromString(message.SerializeToString())
    given = replaced(edit.event, {FILLER: filler(edit.fill_bytes)})
    copy.MergeFrom(ParseDict(given, type(message)()))
    copy.MergeFromString(bytes.fromhex(edit.raw))
    if "sequence" in edit.event:  # also 0
        copy.sequence = int(edit.event["sequence"])
    return copy


def _error(raises: Raise) -> Exception:
    kinds = {**vars(builtins), **vars(errors), "FutureError": FutureError}
    arguments = dict(raises.arguments)
    if "violations" in arguments:
        arguments["violations"] = [errors.Violation(**each) for each in arguments["violations"]]
    message = [arguments.pop("message")] if "message" in arguments else []
    error: Exception = kinds[raises.error](*message, **arguments)
    return error


class StatusTwister(grpc.aio.ServerInterceptor):
    """The outermost interceptor: its status goes out as it is."""

    def __init__(self, twist: Twist) -> None:
        self._status = twist.status

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        status = self._status
        is_ours = handler_call_details.method.startswith("/tokenwire.")
        if handler is None or status is None or not is_ours or not handler.request_streaming:
            return handler

        async def fail(requests: object, context: Context) -> None:
            details = [] if status.details is None else [("grpc-status-details-bin", bytes.fromhex(status.details))]
            await context.abort(grpc.StatusCode[status.code], status.message, tuple(details))

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(fail, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(fail, None, handler.response_serializer)
