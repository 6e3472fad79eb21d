"""Stored completions: kept for a while, so that they can be read again."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from tokenwire.errors import CompletionNotFoundError
from tokenwire.v1.chat_pb2 import ChatCompletion, CompletionState, StoredChatCompletion

logger = logging.getLogger("tokenwire.chat")

MAX_BYTES = 256 * 1024 * 1024
"""What all stored completions may take together, as messages on the wire."""


@dataclass(frozen=True, slots=True)
class _Entry:
    data: bytes
    owner: str
    expires_s: float


class CompletionStore:
    """Keeps completions, bounded in number, bytes and time; the oldest one goes first."""

    def __init__(
        self,
        *,
        max_count: int,
        max_age_s: float,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._max_count = max_count
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # oldest first
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, completion: ChatCompletion, *, owner: str = "", metadata: Mapping[str, str], user: str) -> None:
        """Keep a completion for its owner. One that is larger than the whole store is not kept, and the log says so."""
        expires_s = self._clock() + self._max_age_s
        expire_time = Timestamp()
        expire_time.FromNanoseconds(round(expires_s * 1e9))
        stored = StoredChatCompletion(
            completion=completion,
            metadata=metadata,
            user=user,
            expire_time=expire_time,
            state=CompletionState.COMPLETION_STATE_COMPLETED,
        )
        data = stored.SerializeToString()
        if len(data) > self._max_bytes:
            logger.warning("%s is not stored: %d bytes, of at most %d", completion.id, len(data), self._max_bytes)
            return
        self._entries[completion.id] = _Entry(data, owner, expires_s)
        self._num_bytes += len(data)
        self._evict()

    def get(self, completion_id: str, *, owner: str = "") -> StoredChatCompletion:
        """Read a completion of this owner's. Raises `CompletionNotFoundError`."""
        self._evict()
        entry = self._entries.get(completion_id)
        if entry is None or entry.owner != owner:
            raise CompletionNotFoundError(completion_id)
        return StoredChatCompletion.FromString(entry.data)

    def _evict(self) -> None:
        now = self._clock()
        while self._entries:
            entry = next(iter(self._entries.values()))
            is_full = len(self._entries) > self._max_count or self._num_bytes > self._max_bytes
            if not is_full and now < entry.expires_s:
                return
            self._entries.popitem(last=False)
            self._num_bytes -= len(entry.data)
