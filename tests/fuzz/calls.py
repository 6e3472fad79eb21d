"""Calls with any bytes, many at once over one channel, and what came of each."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import grpc

from fuzz.damage import damaged
from fuzz.inputs import RECENT_ID, message
from fuzz.methods import METHODS, Method
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent

HANG_S = 30.0
"""A call that takes longer hangs."""
ENDLESS_EVENTS = 1
"""So many events are read of a stream that does not end by itself."""

_STOPS: Final = (*([None] * 7), 0, 1, 3)
_DEADLINES_S: Final = (0.0, 0.001, 0.02)
_METADATA: Final = (
    ("authorization", "Bearer x"),
    ("authorization", "Bearer"),
    ("authorization", " "),
    ("x-request-id", "a" * 4000),
    ("x-request-id", "{}\"'<>"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("traceparent", "00-zz-ff"),
    ("traceparent", "-" * 300),
    ("x-anything-bin", b"\x00\xff"),
    ("grpc-previous-rpc-attempts", "99"),
)
# Those that generate come more often.
_CHOICES: Final = [method for method in METHODS for _ in range(4 if "ChatCompletion" in method.path else 1)]


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC with the bytes of its request."""

    method: Method
    data: bytes
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    deadline_s: float | None = None
    """That the caller gives; None: long enough."""
    stop_after: int | None = None
    """The caller leaves after so many events; None: reads to the end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to."""

    code: grpc.StatusCode
    message: str
    trailers: Sequence[tuple[str, str | bytes]]
    answers: Sequence[bytes]


def random_call(rng: Random) -> Call:
    """A call: three of four with a message of its type, the others with what is left of one."""
    method = rng.choice(_CHOICES)
    data = message(rng, method.request).SerializeToString(deterministic=True)
    stop_after = rng.choice(_STOPS) if method.gives_stream else None
    return Call(
        method,
        data if rng.random() < 0.75 else damaged(rng, data),
        metadata=tuple(rng.sample(_METADATA, rng.choice((0, 0, 0, 1, 2)))),
        deadline_s=rng.choice(_DEADLINES_S) if rng.random() < 0.05 else None,
        stop_after=ENDLESS_EVENTS if method.is_endless and stop_after != 0 else stop_after,
    )


class Caller:
    """Makes calls over one channel, and keeps the id of the newest completion to ask for it again."""

    def __init__(self, target: str) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_metadata_size", 1 << 16)]
        self._channel = grpc.insecure_channel(target, options)
        self._recent_id = RECENT_ID

    def make(self, made: Sequence[Call]) -> list[tuple[Call, Outcome]]:
        """Begin all, then read them to their ends one after the other. Returns each as it was sent."""
        sent = [replace(call, data=call.data.replace(RECENT_ID.encode(), self._recent_id.encode())) for call in made]
        begun = [(call, self._begin(call)) for call in sent]
        return [(call, self._finish(call, events)) for call, events in begun]

    def close(self) -> None:
        self._channel.close()

    def _begin(self, call: Call) -> Any:
        timeout_s = HANG_S if call.deadline_s is None else call.deadline_s
        # To this side any call is one of streams: it can then be begun without waiting for its end.
        begin = self._channel.stream_stream(call.method.path, bytes, bytes)
        return begin(iter([call.data]), timeout=timeout_s, metadata=call.metadata)

    def _finish(self, call: Call, events: Any) -> Outcome:
        answers: list[bytes] = []
        with suppress(grpc.RpcError):
            answers.extend(self._read(call, events))
        self._note_id(call.method, answers)
        return Outcome(events.code(), events.details() or "", tuple(events.trailing_metadata() or ()), answers)

    def _read(self, call: Call, events: Any) -> Iterator[bytes]:
        for number in range(1 << 20):
            if number == call.stop_after:
                events.cancel()
                return
            try:
                yield next(events)
            except StopIteration:
                return

    def _note_id(self, method: Method, answers: Sequence[bytes]) -> None:
        if not answers:
            return
        if method.answer is ChatCompletion:
            self._recent_id = ChatCompletion.FromString(answers[0]).id
        elif method.answer is ChatCompletionEvent:
            started = ChatCompletionEvent.FromString(answers[0]).started
            self._recent_id = started.id or self._recent_id
