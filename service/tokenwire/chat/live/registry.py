"""Which completions are live or retained, and how a caller finds them again."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tokenwire.chat.caller import Caller
from tokenwire.chat.live.completion import LiveCompletion
from tokenwire.errors import CompletionNotFoundError, RequestIdConflictError
from tokenwire.stream import StreamFolder
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, CompletionState, StoredChatCompletion

RequestKey = tuple[str, str]
"""Key of the caller, and `request_id`."""


_OVERHEAD_BYTES = 4096
_PROMPT_TOKEN_BYTES = 40
"""What a completion takes beside its events: objects of its own, and each token of the prompt. Roughly."""


@dataclass(slots=True)
class Entry:
    """A completion, and what its caller said of it."""

    live: LiveCompletion
    request: ChatCompletionRequest
    retain_s: float
    """How long it is retained after its end."""
    expires_s: float | None = None
    """When it is forgotten, in seconds since 1970; None while it is live."""
    expiry: asyncio.TimerHandle | None = None
    overhead_bytes: int = field(init=False)
    """What it takes beside its events, roughly."""

    def __post_init__(self) -> None:
        prompt_bytes = _PROMPT_TOKEN_BYTES * self.live.completion.usage.prompt_tokens
        self.overhead_bytes = _OVERHEAD_BYTES + self.request.ByteSize() + prompt_bytes

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

    @property
    def has_failed(self) -> bool:
        """Whether its completion has ended without an answer."""
        live = self.live.result() if self.live.done() else None
        return live is not None and live.log.has_ended and live.state != CompletionState.COMPLETION_STATE_COMPLETED


class Registry:
    """Live completions, and ended ones for as long as they are retained.

    Bounded in bytes: the oldest ended one goes first; where there is none, what has been read of live ones, from the
    longest on.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._live: dict[str, Entry] = {}
        self._retained: OrderedDict[str, Entry] = OrderedDict()  # oldest first
        self._claims: dict[RequestKey, _Claim] = {}
        self._num_beginning = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def num_bytes(self) -> int:
        """What all of them take, roughly."""
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
        """The caller's completion with this request's id, or one that begins now: where there is none, or where it has
        failed or was cancelled. Raises `RequestIdConflictError`."""
        if not request.request_id:
            return await self._counted(begin)
        key, digest = (caller.key_id, request.request_id), _digest(request)
        while (claim := self._claims.get(key)) is not None and not claim.has_failed:
            if claim.digest != digest:
                raise RequestIdConflictError(request.request_id)
            live = await asyncio.shield(claim.live)
            if live is not None and self._claims.get(key) is claim and not claim.has_failed:
                return live
        claim = self._claims[key] = _Claim(digest, asyncio.get_running_loop().create_future())
        try:
            live = await self._counted(begin)
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
        self.grow(entry.overhead_bytes)

    def ended(self, live: LiveCompletion) -> None:
        """A completion has ended: retain it for its time."""
        entry = self._live.pop(live.id)
        self._note_idle()
        if not entry.retain_s:
            self._forget(entry)
            return
        entry.expires_s = time.time() + entry.retain_s
        self._retained[live.id] = entry
        entry.expiry = asyncio.get_running_loop().call_later(entry.retain_s, self._expire, live.id)
        self._evict()

    def find(self, completion_id: str, caller: Caller) -> Entry:
        """A live or retained completion of the caller's. Raises `CompletionNotFoundError`."""
        entry = self._live.get(completion_id) or self._retained.get(completion_id)
        if entry is None or entry.live.owner != caller.key_id:
            raise CompletionNotFoundError(completion_id)
        return entry

    async def find_request(self, request_id: str, caller: Caller) -> LiveCompletion:
        """The completion of the caller's request with this id; of one that is still being prepared, once it is. Raises
        `CompletionNotFoundError`."""
        claim = self._claims.get((caller.key_id, request_id))
        live = None if claim is None else await asyncio.shield(claim.live)
        if live is None:
            raise CompletionNotFoundError(request_id)
        return live

    def grow(self, num_bytes: int) -> None:
        """So many more bytes are taken, or, below zero, fewer."""
        self._num_bytes += num_bytes
        if num_bytes > 0:
            self._evict()

    async def wait_idle(self) -> None:
        """Return when none is live, or about to be."""
        await self._idle.wait()

    async def _counted(self, begin: Callable[[], Awaitable[LiveCompletion]]) -> LiveCompletion:
        self._num_beginning += 1
        self._idle.clear()
        try:
            return await begin()
        finally:
            self._num_beginning -= 1
            self._note_idle()

    def _note_idle(self) -> None:
        if not self._live and not self._num_beginning:
            self._idle.set()

    def _evict(self) -> None:
        while self._num_bytes > self._max_bytes and self._retained:
            _, entry = self._retained.popitem(last=False)
            self._forget(entry)
        if self._num_bytes > self._max_bytes:
            for entry in sorted(self._live.values(), key=lambda entry: entry.live.log.num_bytes, reverse=True):
                entry.live.drop_read()
                if self._num_bytes <= self._max_bytes:
                    return

    def _expire(self, completion_id: str) -> None:
        if (entry := self._retained.pop(completion_id, None)) is not None:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        if entry.expiry is not None:
            entry.expiry.cancel()
        self.grow(-entry.overhead_bytes)
        entry.live.forget()
        key = (entry.live.owner, entry.request.request_id)
        claim = self._claims.get(key)
        if claim is not None and claim.live.done() and claim.live.result() is entry.live:
            del self._claims[key]


def _digest(request: ChatCompletionRequest) -> bytes:
    """Equal for equal requests, within one process."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
