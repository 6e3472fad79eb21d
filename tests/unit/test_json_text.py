"""JSON in text fields: parsed as Python's own parser does, and refused beyond its limits with the limit and value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.chat.validation.json_text import parse_json_text
from tokenwire.errors import Violation

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def parse(text: str, *, max_bytes: int = 100_000, max_depth: int = 64) -> object:
    return parse_json_text("f", text, max_bytes=max_bytes, max_depth=max_depth)


@given(value=VALUES, ascii=st.booleans())
def test_every_json_value_comes_back(value: object, ascii: bool) -> None:
    assert parse(json.dumps(value, ensure_ascii=ascii)) == value


@given(text=st.text(alphabet='[]{}",:\\u1 n'))
def test_any_text_is_a_value_or_a_violation(text: str) -> None:
    value = parse(text)
    assert isinstance(value, Violation) or value == json.loads(text)


BAD = [
    ("", "must be JSON text: Expecting value"),
    ("{", "must be JSON text: Expecting property name"),
    ('{"a": 1} x', "Extra data: line 1 column 10"),
    ("NaN", "finite; got NaN"),
    ("[-Infinity]", "finite; got -Infinity"),
    ("1e999", "finite; got 1e999"),
    ("9" * 1001, "at most 1000 digits; got 1001"),
    (r'{"a": "\ud800"}', r"Unicode text; got the lone surrogate \ud800"),
    (r'{"\udfff": 1}', r"Unicode text; got the lone surrogate \udfff"),
]


@pytest.mark.parametrize(("text", "part"), BAD)
def test_what_is_not_json_is_told_with_the_reason(text: str, part: str) -> None:
    violation = parse(text)
    assert isinstance(violation, Violation)
    assert (violation.field, violation.code) == ("f", "invalid_value")
    assert violation.description.startswith("`f` must ")
    assert part in violation.description


def test_length_is_bounded_in_bytes() -> None:
    assert parse('"é"', max_bytes=4) == "é"
    assert parse('"é"', max_bytes=3) == Violation(
        "f", "`f` must have at most 3 bytes; got 4", "string_above_max_length"
    )


@pytest.mark.parametrize("text", ['[[{"a": "[[[["}], []]', r'[[["\"[["]], {}]', "[" * 3 + "]" * 3])
def test_depth_counts_brackets_outside_of_strings(text: str) -> None:
    assert parse(text, max_depth=3) == json.loads(text)
    assert parse(text, max_depth=2) == Violation("f", "`f` must have at most 2 levels of arrays and objects; got 3")


@pytest.mark.timeout(30)  # quadratic work takes minutes
@pytest.mark.parametrize("text", ["[" * 500_000, '{"a":' * 100_000, '"' + "\\" * 500_001, "9" * 500_000])
def test_hostile_text_is_refused_without_much_work(text: str) -> None:
    assert isinstance(parse(text, max_bytes=1_000_000), Violation)


def test_of_equal_keys_the_last_counts() -> None:
    assert parse('{"a": 1, "a": 2}') == {"a": 2}
