"""Which completions are live or retained, and how a caller finds them again."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tokenwire.chat.caller import Caller
from tokenwire.chat.live.completion import LiveCompletion
from tokenwire.errors import CompletionNotFoundError, RequestIdConflictError
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, CompletionState, StoredChatCompletion

RequestKey = tuple[str, str]
"""Key of the caller, and `request_id`."""


@dataclass(slots=True)
class Entry:
    """A completion, and what its caller said of it."""

    live: LiveCompletion
    request: ChatCompletionRequest
    retain_s: float
    """How long it is retained after its end."""
    expires_s: float | None = None
    """When it is forgotten, in seconds since 1970; None while it is live."""

    def read(self) -> StoredChatCompletion:
        """The completion as far as it has come. Raises the error that it failed with, `ResumeWindowError` if its
        beginning is not kept."""
        if self.live.log.error is not None:
            raise self.live.log.error
        folder, position = StreamFolder(), 0
        while (found := self.live.log.next(position)) is not None:
            event, position = found
            folder.add(event)
        stored = StoredChatCompletion(
            completion=folder.completion,
            metadata=self.request.metadata,
            user=self.request.user,
            state=self.live.state,
        )
        stored.completion.usage.CopyFrom(self.live.completion.usage)
        if self.expires_s is not None:
            stored.expire_time.FromNanoseconds(round(self.expires_s * 1e9))
        return stored


@dataclass(slots=True)
class _Claim:
    """A request id in use."""

    digest: bytes
    live: "asyncio.Future[LiveCompletion | None]"
    """None: it came to nothing."""


class Registry:
    """Live completions, and ended ones for as long as they are retained.

    Bounded in bytes: the oldest ended one goes first; where there is none, what has been read of the longest live one.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._live: dict[str, Entry] = {}
        self._retained: OrderedDict[str, Entry] = OrderedDict()  # oldest first
        self._claims: dict[RequestKey, _Claim] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_bytes(self) -> int:
        """What the events of all of them take."""
        return self._num_bytes

    @property
    def live(self) -> tuple[LiveCompletion, ...]:
        """Those that have not ended."""
        return tuple(entry.live for entry in self._live.values())

    @property
    def num_retained(self) -> int:
        """Number of ended ones."""
        return len(self._retained)

    async def attach_or(
        self, request: ChatCompletionRequest, caller: Caller, begin: Callable[[], Awaitable[LiveCompletion]]
    ) -> LiveCompletion:
        """The caller's completion with this request's id, or one that begins now. Raises `RequestIdConflictError`."""
        if not request.request_id:
            return await begin()
        key, digest = (caller.key_id, request.request_id), _digest(request)
        while (claim := self._claims.get(key)) is not None:
            if claim.digest != digest:
                raise RequestIdConflictError(request.request_id)
            if (live := await asyncio.shield(claim.live)) is not None:
                return live
        claim = self._claims[key] = _Claim(digest, asyncio.get_running_loop().create_future())
        try:
            live = await begin()
        except BaseException:  # also where the caller went away: the next one with this id begins anew
            del self._claims[key]
            claim.live.set_result(None)
            raise
        claim.live.set_result(live)
        return live

    def add(self, entry: Entry) -> None:
        """A completion begins."""
        self._live[entry.live.id] = entry
        self._idle.clear()

    def ended(self, live: LiveCompletion) -> None:
        """A completion has ended: retain it for its time."""
        entry = self._live.pop(live.id)
        if not self._live:
            self._idle.set()
        if live.state != CompletionState.COMPLETION_STATE_COMPLETED:
            self._release_claim(entry)  # a request with this id shall get an answer
        if not entry.retain_s:
            self._forget(entry)
            return
        entry.expires_s = time.time() + entry.retain_s
        self._retained[live.id] = entry
        asyncio.get_running_loop().call_later(entry.retain_s, self._expire, live.id)
        self._evict()

    def find(self, completion_id: str, caller: Caller) -> Entry:
        """A live or retained completion of the caller's. Raises `CompletionNotFoundError`."""
        entry = self._live.get(completion_id) or self._retained.get(completion_id)
        if entry is None or entry.live.owner != caller.key_id:
            raise CompletionNotFoundError(completion_id)
        return entry

    def find_request(self, request_id: str, caller: Caller) -> LiveCompletion:
        """The completion of the caller's request with this id. Raises `CompletionNotFoundError`."""
        claim = self._claims.get((caller.key_id, request_id))
        live = claim.live.result() if claim is not None and claim.live.done() else None
        if live is None:
            raise CompletionNotFoundError(request_id)
        return live

    def grow(self, num_bytes: int) -> None:
        """Events take so many more bytes, or, below zero, fewer."""
        self._num_bytes += num_bytes
        if num_bytes > 0:
            self._evict()

    async def wait_idle(self) -> None:
        """Return when none is live."""
        await self._idle.wait()

    def _evict(self) -> None:
        while self._num_bytes > self._max_bytes and self._retained:
            _, entry = self._retained.popitem(last=False)
            self._forget(entry)
        if self._num_bytes > self._max_bytes and self._live:
            longest = max(self._live.values(), key=lambda entry: entry.live.log.num_bytes)
            longest.live.drop_read()

    def _expire(self, completion_id: str) -> None:
        if (entry := self._retained.pop(completion_id, None)) is not None:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._release_claim(entry)
        entry.live.forget()

    def _release_claim(self, entry: Entry) -> None:
        key = (entry.live.owner, entry.request.request_id)
        claim = self._claims.get(key)
        if claim is not None and claim.live.done() and claim.live.result() is entry.live:
            del self._claims[key]


def _digest(request: ChatCompletionRequest) -> bytes:
    """Equal for equal requests, within one process."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
