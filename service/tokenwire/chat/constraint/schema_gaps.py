"""What of a JSON schema llguidance takes and would not enforce exactly: it is refused by name instead.

Found by generating values from its masks and validating them with `jsonschema`; what llguidance refuses itself, such
as a `oneOf` of schemas that overlap, is not looked for here. What a keyword means is said by JSON Schema 2020-12
(https://json-schema.org/draft/2020-12).
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice
from typing import Final, TypeGuard

from tokenwire.chat.constraint.schema_patterns import unenforced
from tokenwire.chat.constraint.schema_walk import JsonSchema, Place, Subschema, json_pointer, subschemas

MAX_GAPS: Final = 16
DRAFTS: Final = {
    "http://json-schema.org/draft-04/schema": "4",
    "http://json-schema.org/draft-06/schema": "6",
    "http://json-schema.org/draft-07/schema": "7",
    "https://json-schema.org/draft/2019-09/schema": "2019-09",
    "https://json-schema.org/draft/2020-12/schema": "2020-12",
}
FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")

_CANNOT: Final = "cannot be enforced"
_UNENFORCED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("not", "if", "then", "else", "dependentSchemas", "dependentRequired", "dependencies"), _CANNOT),
    **dict.fromkeys(("contains", "minContains", "maxContains", "uniqueItems", "propertyNames"), _CANNOT),
    **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties"), _CANNOT),
    **dict.fromkeys(("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"), _CANNOT),
    **dict.fromkeys(("contentEncoding", "contentMediaType", "contentSchema"), _CANNOT),
    "additionalItems": "is of older drafts: write `prefixItems` and `items`",
}
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LARGEST: Final = 2**53
"""llguidance reads numbers as doubles: beyond it integers are rounded."""
_SHOWN: Final = 60
"""Of a value in a reason, so many characters."""
_ESCAPED: Final = frozenset("\b\f\n\r\t")
_MAX_MULTIPLE: Final = 2**32
"""llguidance has the least common multiple of two `multipleOf` in 32 bits."""


@dataclass(frozen=True, slots=True)
class SchemaGap:
    """A keyword that would not be enforced."""

    pointer: str
    """JSON pointer of the schema that has it; empty: the whole."""
    keyword: str
    reason: str
    """Continues a sentence that begins with the keyword: "cannot be enforced"."""

    def __str__(self) -> str:
        return f"`{self.keyword}` at {self.pointer or 'the top'} {self.reason}"


def gaps(schema: object) -> list[SchemaGap]:
    """What cannot be enforced of a schema (a JSON value), as far as its root refers to it; the first few gaps."""
    parts = list(subschemas(schema))
    root = schema.get("$schema", "") if isinstance(schema, dict) else ""
    draft = DRAFTS.get(str(root).removesuffix("#"), "2020-12")
    every = chain.from_iterable(_of_one(part, draft=draft) for part in parts)
    return list(islice(chain(every, _endless(parts), _excluded_integers(parts), _common_multiples(parts)), MAX_GAPS))


def _of_one(part: Subschema, *, draft: str) -> Iterator[SchemaGap]:
    schema = part.schema

    def gap(keyword: str, reason: str) -> SchemaGap:
        return _gap(part.place, keyword, reason)

    yield from (gap(keyword, reason) for keyword, reason in _UNENFORCED.items() if keyword in schema)
    if "$schema" in schema and str(schema["$schema"]).removesuffix("#") not in DRAFTS:
        yield gap("$schema", f"must be one of the drafts {', '.join(DRAFTS.values())}")
    elif "$schema" in schema and part.place:
        yield gap("$schema", "can only stand at the top")
    if part.ref_problem is not None:
        yield gap("$ref", part.ref_problem)
    yield from (gap(*wrong) for wrong in _items(schema, draft=draft))
    yield from (gap(*wrong) for wrong in _numbers(schema, draft=draft))
    yield from (gap(*wrong) for wrong in _strings(schema))
    if (reason := _min_properties(schema)) is not None:
        yield gap("minProperties", reason)


def _items(schema: JsonSchema, *, draft: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema.get("items"), list) and (draft == "2020-12" or "prefixItems" in schema):
        yield "items", "is a list only in older drafts: write `prefixItems`"
    if "prefixItems" in schema and draft != "2020-12":
        yield "prefixItems", f"is of draft 2020-12, but `$schema` says {draft}"


def _numbers(schema: JsonSchema, *, draft: str) -> Iterator[tuple[str, str]]:
    for keyword in _BOUNDS:
        bound = schema.get(keyword)
        if isinstance(bound, bool) and draft != "4":
            yield keyword, "must be a number"
        if isinstance(bound, int | float) and abs(bound) > _LARGEST:
            yield keyword, f"cannot be enforced beyond 2^53; got {str(bound)[:_SHOWN]}"
    for keyword, value in _literals(schema):
        if isinstance(value, int | float) and abs(value) > _LARGEST:
            yield keyword, f"cannot be enforced for numbers beyond 2^53; got {str(value)[:_SHOWN]}"


def _strings(schema: JsonSchema) -> Iterator[tuple[str, str]]:
    for keyword, value in _literals(schema):
        if isinstance(value, str) and any(character < " " or character == "\x7f" for character in {*value} - _ESCAPED):
            yield keyword, f"cannot be enforced for control characters; got {value[:_SHOWN]!r}"
    format_, types = schema.get("format"), schema.get("type", "string")
    if format_ is not None and format_ not in FORMATS and (types == "string" or "string" in _sequence(types)):
        yield "format", f"can be {', '.join(FORMATS)}; got {str(format_)[:_SHOWN]!r}"
    patterns = schema.get("patternProperties")
    for keyword, pattern in (
        ("pattern", schema.get("pattern")),
        *(("patternProperties", key) for key in (patterns if isinstance(patterns, dict) else ())),
    ):
        if isinstance(pattern, str) and (found := unenforced(pattern)) is not None:
            yield keyword, f"cannot be enforced with {found!r} in it; got {pattern[:_SHOWN]!r}"


def _min_properties(schema: JsonSchema) -> str | None:
    least = schema.get("minProperties")
    if not isinstance(least, int) or least < 2 or least <= len(set(map(str, _sequence(schema.get("required"))))) + 1:
        return None
    # Keys that are not in `properties` may come twice, and count once then.
    return f"can be at most one more than the number of `required` properties; got {least}"


def _literals(schema: JsonSchema) -> Iterator[tuple[str, object]]:
    """All values within `const` and `enum`."""
    waiting = [(keyword, schema[keyword]) for keyword in ("const", "enum") if keyword in schema]
    while waiting:
        keyword, value = waiting.pop()
        yield keyword, value
        if isinstance(value, dict):
            waiting += ((keyword, part) for part in value.values())
        elif isinstance(value, list):
            waiting += ((keyword, part) for part in value)


def _endless(parts: Iterable[Subschema]) -> list[SchemaGap]:
    """A schema that is defined by itself: llguidance lets it match the empty text."""
    try:
        TopologicalSorter({part.place: part.same_value for part in parts}).prepare()
    except CycleError as error:
        return [_gap(error.args[1][0], "$ref", "leads back to itself")]
    return []


def _excluded_integers(parts: Sequence[Subschema]) -> list[SchemaGap]:
    """`exclusiveMinimum: 3` beside `maximum: 3.5`: llguidance lets 3 through. Bounds may come together by `allOf` or
    `$ref`, so those of the whole schema are compared."""
    numbers = [part for part in parts if part.schema.get("type") != "integer"]
    lowers = _values(numbers, ("minimum", "exclusiveMinimum"))
    uppers = _values(numbers, ("maximum", "exclusiveMaximum"))
    found = []
    for part in numbers:
        low, high = part.schema.get("exclusiveMinimum"), part.schema.get("exclusiveMaximum")
        if _is_integer(low) and low >= 0 and _has_between(uppers, low, low + 1):
            found.append(_gap(part.place, "exclusiveMinimum", f"cannot be {low} where a maximum is below {low + 1}"))
        if _is_integer(high) and high <= 0 and _has_between(lowers, high - 1, high):
            found.append(_gap(part.place, "exclusiveMaximum", f"cannot be {high} where a minimum is above {high - 1}"))
    return found


def _common_multiples(parts: Sequence[Subschema]) -> list[SchemaGap]:
    """Several `multipleOf` may come together by `allOf` or `$ref`, and their least common multiple overflow."""
    if not any(part.same_value for part in parts):
        return []
    steps = {Decimal(str(step)).normalize() for step in _values(parts, ("multipleOf",)) if abs(step) <= _LARGEST}
    scale = max((-int(step.as_tuple().exponent) for step in steps), default=0)
    coefficients = [abs(int(step.scaleb(max(scale, 0)))) for step in steps]
    if math.prod(coefficients) * max(coefficients, default=0) < _MAX_MULTIPLE:
        return []
    part = next(part for part in parts if "multipleOf" in part.schema)
    return [_gap(part.place, "multipleOf", "has too many digits beside `allOf`, `anyOf`, `oneOf` or `$ref`")]


def _values(parts: Iterable[Subschema], keywords: Sequence[str]) -> list[float]:
    found = (part.schema.get(keyword) for part in parts for keyword in keywords)
    return sorted(value for value in found if isinstance(value, int | float) and not isinstance(value, bool))


def _has_between(values: Sequence[float], low: float, high: float) -> bool:
    """Whether one of sorted values is between two bounds, these excluded."""
    index = bisect_right(values, low)
    return index < len(values) and values[index] < high


def _is_integer(value: object) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or value.is_integer())
    )


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _gap(place: Place, keyword: str, reason: str) -> SchemaGap:
    return SchemaGap(json_pointer(place), keyword, reason)
