"""API keys: what an entry of their file says, and which entry a key belongs to.

A key is 256 random bits, so a plain SHA-256 of it tells nothing: there is no guessing it, and no table of it. A slow
hash, which passwords need, would only make every call slow.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite

import yaml

from tokenwire.chat.quota import Quota
from tokenwire.security.watched_files import SecurityFileError

KEY_PREFIX = "tw-"
"""Secret scanners find leaked keys by it."""

MAX_KEYS = 10_000
"""Each is compared at every call: about 1 ms for that many."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where there is one, takes a tenth of the time."""

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_FIELDS = frozenset(
    {"name", "hash", "models", "max_concurrent", "requests_per_minute", "tokens_per_minute", "expires", "disabled"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One entry. The key itself is nowhere."""

    name: str
    """What logs, metrics and the ownership of completions say."""
    digest: bytes
    """SHA-256 of the key."""
    quota: Quota
    expires: datetime | None
    disabled: bool


class KeyRing:
    """The keys of a file."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self.keys = tuple(keys)

    def find(self, key: str) -> ApiKey | None:
        """The entry of a key; also one that is disabled or has expired."""
        digest = key_digest(key)
        found = None
        for entry in self.keys:  # always all of them: the time that it takes tells nothing
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return found


def new_key() -> str:
    """A random key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_digest(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


def parse_keys(text: str) -> KeyRing:
    """Read the text of a key file. Raises `SecurityFileError`, which names the entry and never shows a value of
    `hash`: somebody may have put the key itself there."""
    try:
        entries = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2026-02-30
        raise SecurityFileError(f"it is not YAML{_place(error)}") from None
    if entries is None:
        return KeyRing([])
    if not isinstance(entries, list):
        raise SecurityFileError("it must be a list of keys")
    if len(entries) > MAX_KEYS:
        raise SecurityFileError(f"it must have at most {MAX_KEYS} keys; got {len(entries)}")
    keys = [_key(entry, f"key {number}") for number, entry in enumerate(entries, 1)]
    if number := _repeated(key.name for key in keys):
        raise SecurityFileError(f"key {number}: its `name` is that of an earlier key")
    if number := _repeated(key.digest for key in keys):
        raise SecurityFileError(f"key {number}: its `hash` is that of an earlier key")
    return KeyRing(keys)


def _place(error: Exception) -> str:
    """Where the text is wrong; the library's own message quotes the text."""
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"


def _repeated(values: Iterable[object]) -> int | None:
    """The number, from 1, of the first value that was there before."""
    seen: set[object] = set()
    for number, value in enumerate(values, 1):
        if value in seen:
            return number
        seen.add(value)
    return None


def _key(entry: object, path: str) -> ApiKey:
    if not isinstance(entry, dict):
        raise SecurityFileError(f"{path} must have fields such as `name` and `hash`")
    if unknown := sorted(map(str, entry.keys() - _FIELDS)):
        raise SecurityFileError(f"{path}: {unknown[0]!r} is no field of a key; there are {', '.join(sorted(_FIELDS))}")
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SecurityFileError(f"{path}: `name` must be 1 to 64 letters, digits, `.`, `_`, `@` and `-`")
    path = f"{path} ({name})"
    digest = _HASH.fullmatch(str(entry.get("hash")))
    if digest is None:
        raise SecurityFileError(f"{path}: `hash` must be `sha256:` and 64 hexadecimal digits in lower case")
    disabled = entry.get("disabled", False)
    if not isinstance(disabled, bool):
        raise SecurityFileError(f"{path}: `disabled` must be true or false")
    return ApiKey(
        name=name,
        digest=bytes.fromhex(digest[1]),
        quota=_quota(entry, path),
        expires=_expires(entry.get("expires"), path),
        disabled=disabled,
    )


def _quota(entry: Mapping[str, object], path: str) -> Quota:
    models = entry.get("models")
    if models is not None and not (isinstance(models, list) and all(isinstance(model, str) for model in models)):
        raise SecurityFileError(f"{path}: `models` must be a list of names")
    max_concurrent = _number(entry, "max_concurrent", path)
    if max_concurrent is not None and max_concurrent != int(max_concurrent):
        raise SecurityFileError(f"{path}: `max_concurrent` must be a whole number; got {max_concurrent}")
    return Quota(
        models=None if models is None else frozenset(models),
        max_concurrent=None if max_concurrent is None else int(max_concurrent),
        requests_per_minute=_number(entry, "requests_per_minute", path),
        tokens_per_minute=_number(entry, "tokens_per_minute", path),
    )


def _number(entry: Mapping[str, object], field: str, path: str) -> float | None:
    value = entry.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value > 0):
        raise SecurityFileError(f"{path}: `{field}` must be a number above 0; `disabled` shuts a key out")
    return value


def _expires(value: object, path: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if not isinstance(moment, datetime):
        raise SecurityFileError(
            f"{path}: `expires` must be a date or a time, such as 2027-01-31 or 2027-01-31T12:00:00Z"
        )
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
