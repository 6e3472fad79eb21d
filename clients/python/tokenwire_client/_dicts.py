"""What the dicts that callers may pass have in common: known keys, names for enum values, and JSON as text."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

Value = TypeVar("Value", bound=int)


def refuse_unknown_keys(given: Mapping[str, Any], known: Collection[str], *, what: str) -> None:
    """Raise `ValueError` for keys that `what` does not have, `TypeError` for what is no dict."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict or a message of the contract; got {given!r}")
    if unknown := given.keys() - set(known):
        raise ValueError(f"{what} has no {sorted(unknown)}; it may have {sorted(known)}")


def enum_value(items: Sequence[tuple[str, Value]], name: object, *, field: str) -> Value:
    """The value that a short name stands for: `auto` for `SERVICE_TIER_AUTO`. Raises `ValueError` for others."""
    prefix = items[0][0].removesuffix("UNSPECIFIED")
    values = {key.removeprefix(prefix).lower(): value for key, value in items if value}
    if not isinstance(name, str) or name not in values:
        raise ValueError(f"`{field}` must be one of {', '.join(values)}; got {name!r}")
    return values[name]


def json_text(value: Any) -> str:
    """A JSON value as text; text is taken as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
