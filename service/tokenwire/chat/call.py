"""One RPC or HTTP request: what transports and the chat service note of it, for its access line and the metrics."""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from tokenwire.chat.caller import ANYONE, CURRENT, Caller
from tokenwire.errors import TokenwireError


@dataclass(slots=True, kw_only=True)
class Call:
    """A call while it is handled, and once it has ended."""

    method: str
    """`ChatService/StreamChatCompletion`, or the route of an HTTP request: `POST /v1/chat/completions`."""
    is_http: bool = False
    caller: Caller = ANYONE
    code: str = "OK"
    """Name of the gRPC status code, or the HTTP status."""
    reason: str = ""
    """`ErrorInfo.reason`; empty where it did not fail."""
    completion_id: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    began_s: float = field(default_factory=time.monotonic)
    """On the monotonic clock."""
    seconds: float = 0.0
    """How long it took."""


CALL: ContextVar[Call | None] = ContextVar("call", default=None)
"""The one that is being handled; None in calls within the process."""


class CallObserver(Protocol):
    """Is told of every call, once it has ended."""

    def called(self, call: Call) -> None:
        """Never raises, and never waits."""
        ...


def end_call(call: Call, observers: Sequence[CallObserver]) -> None:
    """A call has ended, in the context in which it was handled: tell the observers."""
    call.caller = CURRENT.get()
    call.seconds = time.monotonic() - call.began_s
    for observer in observers:
        observer.called(call)


def note_error(error: TokenwireError) -> None:
    """The call that is being handled fails with this error."""
    if (call := CALL.get()) is not None:
        call.reason = error.reason_name
        if not call.is_http:
            call.code = error.kind.grpc_code.name


def note_completion(completion_id: str, *, prompt_tokens: int, completion_tokens: int) -> None:
    """The call that is being handled is about this completion, and so far these are its tokens."""
    if (call := CALL.get()) is not None:
        call.completion_id = completion_id
        call.prompt_tokens = prompt_tokens
        call.completion_tokens = completion_tokens


def call_fields() -> Mapping[str, str]:
    """What each log record says of the call in which it was written."""
    caller = CURRENT.get()
    fields = {"request_id": caller.log_id, "key": caller.key_id}
    return {name: value for name, value in fields.items() if value}
