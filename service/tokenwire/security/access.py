"""Who calls: finds the entry of the API key that a call carries."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from tokenwire.chat.caller import Caller
from tokenwire.chat.quota import NO_LIMITS, Quota
from tokenwire.errors import UnauthenticatedError
from tokenwire.request_id import traceparent_of
from tokenwire.security.api_keys import KeyRing

AUTHORIZATION = "authorization"
"""Name of the metadata, or HTTP header, that carries `Bearer` and the key."""


class Keys(Protocol):
    """Where the keys of the moment are."""

    @property
    def current(self) -> KeyRing:
        """They may be others at the next call."""


class Access:
    """Decides who may call."""

    def __init__(self, keys: Keys | None = None) -> None:
        """Without keys, anybody."""
        self._keys = keys

    def caller(self, headers: Mapping[str, str], *, request_id: str, deadline_s: float | None = None) -> Caller:
        """The caller whose call has these headers (names in lower case). Raises `UnauthenticatedError`."""
        name, quota = ("", NO_LIMITS) if self._keys is None else _authenticate(self._keys.current, headers)
        return Caller(
            key_id=name,
            quota=quota,
            deadline_s=deadline_s,
            log_id=request_id,
            traceparent=traceparent_of(headers),
        )


ANYBODY = Access()


def _authenticate(keys: KeyRing, headers: Mapping[str, str]) -> tuple[str, Quota]:
    scheme, _, key = headers.get(AUTHORIZATION, "").strip().partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise UnauthenticatedError("an API key is needed: send `authorization: Bearer …`")
    entry = keys.find(key.strip())
    # One answer for all of these: who has no good key learns nothing about keys.
    if entry is None or entry.disabled or (entry.expires is not None and entry.expires <= datetime.now(UTC)):
        raise UnauthenticatedError("the API key is not known, or not valid any more")
    return entry.name, entry.quota
