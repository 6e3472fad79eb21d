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
Place = tuple[str, ...]
"""The keys and indices that lead from the root to a value. Pointers would repeat a stranger's long keys."""


@dataclass(frozen=True, slots=True)
class Subschema:
    """A schema at its place."""

    place: Place
    schema: JsonSchema
    same_value: tuple[Place, ...]
    """Where the schemas are that say more of the same value: by `allOf`, `anyOf`, `oneOf` or `$ref`."""
    ref_problem: str | None
    """Why its `$ref` cannot be followed, as the end of a sentence."""


def subschemas(root: object) -> Iterator[Subschema]:
    """Each once: all that validating a value by `root` (a JSON value) may look at. Definitions that nothing refers to
    are not among them, nor are schemas that are just true or false."""
    start: Place = ()
    waiting, seen = deque([start]), {start}
    while waiting:
        place = waiting.popleft()
        schema, has_own_id = _find(root, place)
        if not isinstance(schema, dict):
            continue
        same_value = [(*place, key, str(i)) for key in _SAME_VALUE for i in range(_length(schema.get(key)))]
        target, problem = _target(root, schema.get("$ref"), has_own_id=has_own_id)
        if target is not None:
            same_value.append(target)
        yield Subschema(place, schema, tuple(same_value), problem)
        for next_place in [*_children(place, schema), *same_value]:
            if next_place not in seen:
                seen.add(next_place)
                waiting.append(next_place)


def json_pointer(place: Place) -> str:
    """As RFC 6901 spells it."""
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in place)


def _children(place: Place, schema: JsonSchema) -> Iterator[Place]:
    for keyword in _IN_MAPS:
        if isinstance(parts := schema.get(keyword), dict):
            yield from ((*place, keyword, key) for key in parts)
    for keyword in _ALONE:
        if isinstance(schema.get(keyword), dict):
            yield (*place, keyword)
    for keyword in _IN_LISTS:
        yield from ((*place, keyword, str(i)) for i in range(_length(schema.get(keyword))))


def _target(root: object, reference: object, *, has_own_id: bool) -> tuple[Place | None, str | None]:
    """The place that a `$ref` means, or why there is none."""
    if not isinstance(reference, str):
        return None, None
    if not (reference == "#" or reference.startswith("#/")):
        return None, f"can only be `#` or `#/…`; got {reference[:60]!r}"
    if has_own_id:
        return None, "cannot stand within a schema that has its own `$id`"
    place = tuple(unquote(key).replace("~1", "/").replace("~0", "~") for key in reference.split("/")[1:])
    try:
        _find(root, place)
    except LookupError:
        return None, f"leads nowhere: {reference[:60]!r}"
    return place, None


def _find(root: object, place: Place) -> tuple[object, bool]:
    """What is at a place, and whether something on the way, the root apart, has an `$id`. Raises `LookupError`."""
    value, has_own_id = root, False
    for key in place:
        match value:
            case dict():
                value = value[key]
            case list() if key.isdecimal():
                value = value[int(key)]
            case _:
                raise LookupError(key)
        has_own_id = has_own_id or (isinstance(value, dict) and isinstance(value.get("$id"), str))
    return value, has_own_id


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
