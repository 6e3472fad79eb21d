"""What of a schema is refused because llguidance takes it and does not enforce it exactly."""

import tracemalloc
from typing import Any

import pytest

from tokenwire.chat.constraint.schema_gaps import MAX_GAPS, gaps

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("schema", "pointer", "keyword"),
    [
        ({"not": {"type": "null"}}, "", "not"),
        ({"properties": {"a/b": {"items": {"uniqueItems": True}}}}, "/properties/a~1b/items", "uniqueItems"),
        ({"anyOf": [{}, {"if": True}]}, "/anyOf/1", "if"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"contains": {}}}}, "/$defs/a", "contains"),
        ({"$ref": "#/a%20~0b", "a ~b": {"dependentRequired": {}}}, "/a ~0b", "dependentRequired"),
        ({"contentEncoding": "base64"}, "", "contentEncoding"),
        # Keywords that the draft does not know yet: they would be ignored.
        ({"$schema": DRAFT_7, "unevaluatedProperties": False}, "", "unevaluatedProperties"),
        ({"$schema": DRAFT_7, "prefixItems": [{}]}, "", "prefixItems"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "", "$schema"),
        ({"items": {"$schema": DRAFT_7}}, "/items", "$schema"),
        ({"items": [{}]}, "", "items"),
        ({"prefixItems": [{}], "additionalItems": False}, "", "additionalItems"),
        # Keys that come twice count once.
        ({"minProperties": 2}, "", "minProperties"),
        ({"minProperties": 4, "required": ["a", "b", "a"]}, "", "minProperties"),
        ({"exclusiveMinimum": True, "minimum": 1}, "", "exclusiveMinimum"),
        # The excluded integer would come out.
        ({"exclusiveMinimum": 3, "maximum": 3.5}, "", "exclusiveMinimum"),
        ({"allOf": [{"exclusiveMinimum": 0}, {"exclusiveMaximum": 0.5}]}, "/allOf/0", "exclusiveMinimum"),
        ({"minimum": -0.5, "exclusiveMaximum": 0}, "", "exclusiveMaximum"),
        # Doubles round them.
        ({"maximum": 2**53 + 1}, "", "maximum"),
        ({"const": {"a": [-(2**53) - 1]}}, "", "const"),
        ({"enum": [1e23]}, "", "enum"),
        ({"allOf": [{"multipleOf": 65536}, {"multipleOf": 65537}]}, "/allOf/0", "multipleOf"),
        ({"enum": ["\x00"]}, "", "enum"),
        ({"type": "string", "format": "idn-email"}, "", "format"),
        ({"format": "unknown"}, "", "format"),
        ({"type": ["null", "string"], "format": "int32"}, "", "format"),
        ({"pattern": "^[a[b]]$"}, "", "pattern"),
        ({"pattern": "^[a&&b]$"}, "", "pattern"),
        ({"pattern": "[^]"}, "", "pattern"),
        ({"pattern": r"\Aa\z"}, "", "pattern"),
        ({"pattern": r"\P{L}"}, "", "pattern"),
        ({"pattern": r"[\x00-\x21]"}, "", "pattern"),
        ({"pattern": r"\u{0}"}, "", "pattern"),
        ({"patternProperties": {"(?i)a": True}}, "", "patternProperties"),
        ({"$ref": "#"}, "", "$ref"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "", "$ref"),
        ({"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}}, "", "$ref"),
        ({"$ref": "#/$defs/a"}, "", "$ref"),
        ({"$ref": "https://example.com/schema"}, "", "$ref"),
        ({"properties": {"a": {"$id": "x", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {}}}}}, None, "$ref"),
    ],
)
def test_what_cannot_be_enforced_is_named_with_its_place(schema: Any, pointer: str | None, keyword: str) -> None:
    (gap,) = gaps(schema)
    assert gap.keyword == keyword
    assert pointer is None or gap.pointer == pointer


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"properties": {"not": {"type": "string"}, "$ref": {"const": {"uniqueItems": True}}}},
        {"$defs": {"unused": {"not": {}}}, "default": {"not": {}}, "examples": [{"if": 1}], "x-mine": {"not": {}}},
        {"$schema": DRAFT_4, "minimum": 0, "exclusiveMinimum": True, "id": "https://example.com/"},
        {"$schema": DRAFT_7, "items": [{"type": "null"}], "definitions": {"a": {}}},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
        {"minProperties": 2, "required": ["a"]},
        {"exclusiveMinimum": 0, "maximum": 1, "minimum": -0.5},
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 0.5},
        {"multipleOf": 0.01, "items": {"multipleOf": 1000}},
        {"enum": ['a\n\t"\\é😀', -0.0, 2**53, None]},
        {"type": "integer", "format": "int32"},
        {"pattern": r'^[A-Za-z_\-\[\]&][\w.]{0,9}(?:\d\/|\u00e9|\p{L}|[^\s"]|\x7e\u{1F600})(?P<name>x)$'},
        {"items": {"$id": "https://example.com/item", "type": "string"}},
    ],
)
def test_what_can_be_enforced_or_says_nothing_is_no_gap(schema: Any) -> None:
    assert gaps(schema) == []


def test_a_long_chain_of_references_is_walked_without_recursion() -> None:
    definitions = {str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(20_000)}
    assert gaps({"$ref": "#/$defs/0", "$defs": {**definitions, "20000": {"type": "null"}}}) == []


def test_numbers_that_no_double_holds_are_refused_in_a_short_sentence() -> None:
    huge = 10**900
    found = gaps({"items": {"exclusiveMinimum": huge, "multipleOf": huge, "enum": [huge]}, "anyOf": [{}]})
    assert [gap.keyword for gap in found] == ["exclusiveMinimum", "multipleOf", "enum"]
    assert max(len(gap.reason) for gap in found) < 120


def test_a_schema_of_the_largest_size_is_walked_in_little_memory() -> None:
    """A long key above many schemas would be in the pointer of each."""
    many = [{"exclusiveMinimum": 2 * i, "maximum": 2 * i + 1, "not": {}} for i in range(2000)]
    tracemalloc.start()
    found = gaps({"properties": {"k" * 100_000: {"anyOf": many}}})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == MAX_GAPS
    assert peak < 10 << 20
