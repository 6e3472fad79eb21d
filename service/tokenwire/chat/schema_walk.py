"""The schemas within a JSON schema that its root leads to. Nothing here recurses: the schema is a stranger's."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

_SAME_VALUE: Final = ("allOf", "anyOf", "oneOf")
_IN_MAPS: Final = ("properties", "patternProperties")
_ALONE: Final = ("additionalProperties", "items")
_IN_LISTS: Final = ("prefixItems", "items", *_SAME_VALUE)

JsonSchema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema at its place."""

    pointer: str
    """JSON pointer from the root; empty: the root."""
    schema: JsonSchema
    same_value: tuple[str, ...]
    """Pointers of the schemas that say more of the same value: by `allOf`, `anyOf`, `oneOf` or `$ref`."""
    ref_problem: str | None
    """Why its `$ref` cannot be followed, as the end of a sentence."""


def subschemas(root: object) -> Iterator[Subschema]:
    """Each once: all that validating a value by `root` (a JSON value) may look at. Definitions that nothing refers to
    are not among them, nor are schemas that are just true or false."""
    waiting, seen = deque([""]), {""}
    while waiting:
        pointer = waiting.popleft()
        schema, has_own_id = _find(root, pointer)
        if not isinstance(schema, dict):
            continue
        same_value = [f"{pointer}/{key}/{i}" for key in _SAME_VALUE for i in range(_length(schema.get(key)))]
        target, problem = _target(root, schema.get("$ref"), has_own_id=has_own_id)
        if target is not None:
            same_value.append(target)
        yield Subschema(pointer, schema, tuple(same_value), problem)
        for place in [*_children(pointer, schema), *same_value]:
            if place not in seen:
                seen.add(place)
                waiting.append(place)


def _children(pointer: str, schema: JsonSchema) -> Iterator[str]:
    for keyword in _IN_MAPS:
        if isinstance(parts := schema.get(keyword), dict):
            yield from (f"{pointer}/{keyword}/{_escaped(key)}" for key in parts)
    for keyword in _ALONE:
        if isinstance(schema.get(keyword), dict):
            yield f"{pointer}/{keyword}"
    for keyword in _IN_LISTS:
        yield from (f"{pointer}/{keyword}/{i}" for i in range(_length(schema.get(keyword))))


def _target(root: object, reference: object, *, has_own_id: bool) -> tuple[str | None, str | None]:
    """The pointer that a `$ref` means, or why there is none."""
    if not isinstance(reference, str):
        return None, None
    if not (reference == "#" or reference.startswith("#/")):
        return None, f"can only be `#` or `#/…`; got {reference!r}"
    if has_own_id:
        return None, "cannot stand within a schema that has its own `$id`"
    # A pointer has one spelling here, so that a place is known again.
    segments = [unquote(segment).replace("~1", "/").replace("~0", "~") for segment in reference[1:].split("/")]
    pointer = "/".join(map(_escaped, segments))
    try:
        _find(root, pointer)
    except LookupError:
        return None, f"leads nowhere: {reference!r}"
    return pointer, None


def _find(root: object, pointer: str) -> tuple[object, bool]:
    """What a pointer means, and whether one on the way to it, the root apart, has an `$id`. Raises `LookupError`."""
    value, has_own_id = root, False
    for segment in pointer.split("/")[1:]:
        match value:
            case dict():
                value = value[segment.replace("~1", "/").replace("~0", "~")]
            case list() if segment.isdecimal():
                value = value[int(segment)]
            case _:
                raise LookupError(pointer)
        has_own_id = has_own_id or (isinstance(value, dict) and isinstance(value.get("$id"), str))
    return value, has_own_id


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
