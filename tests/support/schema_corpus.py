"""Over 300 JSON schemas of every keyword that is enforced: alone, beside others, nested, and as callers write them.

All are bounded (lengths, counts, ranges), so that an answer ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.realistic_schemas import REALISTIC, Schema, list_of, one_of, record, text, whole


@dataclass(frozen=True, slots=True)
class SchemaCase:
    """A schema, and what a prompt may call it."""

    name: str
    schema: Any


def schema_corpus() -> list[SchemaCase]:
    """The whole corpus, always in the same order."""
    values = list(_values())
    cases = [SchemaCase(_name(schema), schema) for schema in values]
    cases += [SchemaCase("an object", schema) for schema in _objects(values)]
    cases += [SchemaCase("a list", schema) for schema in _arrays(values)]
    cases += [SchemaCase("a value", schema) for schema in _combined(values)]
    return cases + [SchemaCase(name, schema) for name, schema in REALISTIC.items()]


def _name(schema: Schema) -> str:
    return f"a {schema.get('format') or schema.get('type', 'value')}"


def _values() -> Iterator[Schema]:
    """Schemas of single values."""
    yield from ({"type": "null"}, {"type": "boolean"}, text(0), text(1), text(12), text(8, minLength=3))
    yield from (text(6, minLength=6), {"type": ["string", "null"], "maxLength": 4}, {"type": ["boolean", "null"]})
    for pattern in _PATTERNS:
        yield {"type": "string", "pattern": pattern}
    for pattern in ("a", "^a", "z$", "[0-9]{2}", "^(?:a|b)+$", "^[^a]*$", "^.*$", "\\s"):
        yield text(8, pattern=pattern)
    for format_ in ("date", "time", "date-time", "uuid", "ipv4", "ipv6"):
        yield {"type": "string", "format": format_}
    for format_, longest in (("email", 16), ("hostname", 12), ("uri", 24), ("duration", 8), ("email", 40)):
        yield text(longest, format=format_)
    yield from (
        {"type": "string", "format": "date", "pattern": "^20[0-9]{2}"},
        {"type": "string", "format": "ipv4", "pattern": "^10[.]"},
    )
    for low, high in (
        (0, 0),
        (0, 9),
        (-5, 5),
        (1, 12),
        (1900, 2100),
        (-999, -100),
        (7, 1234567),
        (-(2**31), 2**31 - 1),
        (0, 2**53 - 1),
    ):
        yield whole(low, high)
        yield {"type": "integer", "exclusiveMinimum": low - 1, "exclusiveMaximum": high + 1}
    for step in (2, 5, 7, 10, 25, 1000):
        yield {"type": "integer", "multipleOf": step, "minimum": -20 * step, "maximum": 30 * step}
    for fraction in (0.5, 0.1, 0.25, 0.01, 2.5, 0.001):
        yield {"type": "number", "multipleOf": fraction, "minimum": -3, "maximum": 40}
    for low_, high_ in ((0.0, 1.0), (-1.5, 2.25), (0.001, 0.002), (-40.5, -12.75), (99.99, 1000.01), (-1e-7, 1e-7)):
        yield {"type": "number", "minimum": low_, "maximum": high_}
        yield {"type": "number", "exclusiveMinimum": low_, "maximum": high_ + 1.5}
    for value in _LITERALS:
        yield {"const": value}
    for i in range(len(_LITERALS)):
        yield {"enum": _LITERALS[i : i + 4]}
    yield from (
        {"type": "string", "enum": ["a", 1, "b"]},
        {"type": "integer", "enum": [1, 2.5, "x", 3]},
        {"enum": [1, 5, 9], "maximum": 5},
    )


_PATTERNS = (
    "^[a-z]{1,8}$", "^[A-Z]{2}[0-9]{4}$", r"^\d{3}-\d{4}$", r"^\w{1,10}$", r"^#[0-9a-fA-F]{6}$", "^(?:yes|no|maybe)$",
    r"^[\w.]{1,8}@[a-z]{1,6}\.(?:com|org)$", "^a{3}b{0,2}c?$", "^[^\"\\\\]{1,6}$",
    r"^\/[a-z]{1,5}(?:\/[a-z]{1,3}){0,2}$",
    r"^\u00e9{1,3}$", "^é[à-ü]{1,3}$", "^[😀-😎]{1,2}$", r"^(?:[01]\d|2[0-3]):[0-5]\d$", r"^\$\d{1,3}\.\d{2}$",
    r"^[-+]?\d{1,4}(?:\.\d{1,2})?$", "^(?:(?:ab){1,2}|c)$", r"^\t?\n?x$", "^.{2,5}$", "^[ぁ-ん]{2,4}$",
)  # fmt: skip

_LITERALS: list[Any] = [
    None, True, False, 0, -1, 12345, 1.5, -0.25, 2**53, 1e-7, 1.0, "", "a", "two words", "\"quoted\" \\ / back",
    "\b\f\n\r\t",
    "é ü 漢字 😀", "{}", [], {}, [1, "a", None], {"a": 1, "b": [True]}, {"z": 1, "a": {"y": "\""}}, [[[]]], "null", "-",
]  # fmt: skip


def _picked(values: list[Schema], start: int, count: int) -> dict[str, Schema]:
    """Some of the values as properties; different ones for each start."""
    return {f"{'abcdefgh'[i]}{start % 10}": values[(start * 11 + i * 37) % len(values)] for i in range(count)}


def _objects(values: list[Schema]) -> Iterator[Schema]:
    for start in range(24):
        properties = _picked(values, start, 1 + start % 5)
        yield record(properties, optional=tuple(properties)[start % 2 :: 2] if start % 3 else ())
    yield from ({"type": "object", "maxProperties": 0}, {"type": "object", "additionalProperties": False})
    for low, high in ((0, 1), (1, 1), (0, 3), (1, 2)):
        for schema in (whole(0, 9), text(4), one_of("x", None)):
            yield {"type": "object", "additionalProperties": schema, "minProperties": low, "maxProperties": high}
    for pattern in ("^[a-z]{1,4}$", "^x_", "[0-9]$"):
        yield {
            "type": "object",
            "patternProperties": {pattern: whole(0, 99)},
            "additionalProperties": False,
            "maxProperties": 2,
        }
    yield {
        "type": "object",
        "patternProperties": {"^[a-c]$": whole(0, 9), "^[d-f]$": text(3)},
        "additionalProperties": False,
        "maxProperties": 3,
    }
    yield {
        "type": "object",
        "properties": {"ab": one_of(1)},
        "required": ["ab"],
        "additionalProperties": one_of(2),
        "maxProperties": 3,
    }
    yield {
        "type": "object",
        "properties": {"a1": text(3)},
        "required": ["a1"],
        "patternProperties": {"^a": {"maxLength": 2}},
        "additionalProperties": False,
        "maxProperties": 2,
    }
    yield {"type": "object", "properties": {"never": False, "b": one_of(1)}, "additionalProperties": False}
    yield {"type": "object", "required": ["b", "a"], "additionalProperties": whole(0, 9), "maxProperties": 3}
    for least in (0, 1):
        yield record(
            {name: whole(0, 9) for name in "abc"}, {"maxProperties": 1, "minProperties": least}, optional="abc"
        )
    for name in ("", " ", 'a"b\\c\n', "日本語", "😀", "$ref", "not", "a/b~c"):
        yield record({name: one_of(1, "a"), "last": {"type": "null"}})


def _arrays(values: list[Schema]) -> Iterator[Schema]:
    for start in range(0, len(values), 8):
        yield list_of(values[start], 1 + start % 3, least=start % 2)
    for low, high in ((0, 0), (2, 2), (0, 5), (3, 5)):
        yield list_of(whole(0, 9), high, least=low)
        yield list_of({"type": ["string", "null"], "maxLength": 3}, high, least=low)
    for start in range(6):
        items = list(_picked(values, start + 40, 2 + start % 3).values())
        yield {"type": "array", "prefixItems": items, "items": False, "minItems": len(items) - start % 2}
    yield {"type": "array", "prefixItems": [one_of(1)], "items": one_of("a"), "minItems": 2, "maxItems": 4}
    yield {"type": "array", "items": False}
    yield {"type": "array", "prefixItems": [one_of(1), False, one_of(2)]}
    yield list_of(list_of(list_of(one_of(0), 2), 2), 2, least=1)
    yield list_of(record({"k": one_of("a", "b"), "v": whole(0, 9)}, optional=("v",)), 3, least=1)


def _combined(values: list[Schema]) -> Iterator[Schema]:
    for start in range(12):
        yield {"anyOf": list(_picked(values, start + 60, 2 + start % 3).values())}
    yield {"oneOf": [whole(0, 9), text(3), {"type": "null"}, list_of(one_of(1), 2), record({"a": one_of(1)})]}
    yield {"oneOf": [one_of("a"), one_of("b", 1), {"const": None}]}
    yield {"oneOf": [record({"k": {"const": k}, "v": whole(0, 9)}) for k in ("x", "y", "z")]}
    yield {"type": "string", "oneOf": [{"maxLength": 3}, {"type": "null"}]}
    merged: tuple[list[Schema], ...] = (
        [text(6), {"minLength": 4}], [text(8, pattern="^a"), {"pattern": "b$"}], [one_of(1, 2, 3), one_of(2, 3, 4)],
        [whole(0, 99), {"multipleOf": 4}, {"multipleOf": 6}], [{"type": ["string", "integer"]}, whole(3, 7)],
        [{"type": "number", "maximum": 9.5, "multipleOf": 0.5}, {"exclusiveMinimum": 2}],
        [list_of(whole(0, 9), 4), {"items": {"multipleOf": 3}, "minItems": 1}],
        [record({"a": whole(0, 9), "b": True}), {"properties": {"b": text(3), "a": {"minimum": 5}}}],
    )  # fmt: skip
    for parts in merged:
        yield {"allOf": parts}
        yield {**parts[0], "allOf": parts[1:]}
        yield {"$ref": "#/$defs/first", "allOf": parts[1:], "$defs": {"first": parts[0]}}
    either = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    yield record({"a": whole(0, 5), "b": one_of(1)}, either, optional="ab")
    for start in range(10):
        first, second = _picked(values, start + 80, 2).values()
        definitions = {"one": first, "two/~": {"$ref": "#/definitions/three"}}
        properties = {"x": {"$ref": "#/$defs/one"}, "y": {"$ref": "#/$defs/two~1~0"}, "z": {"$ref": "#/properties/x"}}
        yield record(properties, {"$defs": definitions, "definitions": {"three": second}})
    for least in (0, 1):
        yield list_of({"anyOf": [one_of(0, 1, 2), {"$ref": "#"}]} if least else {"$ref": "#"}, 1, least=least)
    yield {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [whole(0, 9), text(3)],
        "minItems": 2,
        "maxItems": 2,
    }
    yield {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "http://example.com/a",
        "type": "integer",
        "minimum": 3,
        "exclusiveMinimum": True,
        "maximum": 9,
    }
    yield {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.com/b",
        **whole(1, 3),
        "title": "t",
        "x-other": [1],
    }
