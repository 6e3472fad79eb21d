"""Schemas that are rewritten to be enforced exactly: Python's calendar, jsonschema and llguidance are asked."""

import json
import re
from datetime import date, timedelta

import pytest
from jsonschema import Draft202012Validator
from llguidance import LLMatcher, LLTokenizer

from tokenwire.chat.constraint.rule import json_rule
from tokenwire.chat.constraint.schema_exact import exact


def pattern_of(format_: str) -> re.Pattern[str]:
    return re.compile(exact({"type": "string", "format": format_})["pattern"])


def test_the_dates_that_match_are_those_of_the_calendar() -> None:
    pattern = pattern_of("date")
    spelled = {f"{year:04}-{month:02}-{day:02}" for year in YEARS for month in range(14) for day in range(33)}
    assert {text for text in spelled if pattern.search(text)} == {str(day) for year in YEARS for day in days_of(year)}


YEARS = (0, 1, 4, 10, 100, 400, 1000, 1900, 2000, 2023, 2024, 2100, 9999)


def days_of(year: int) -> list[date]:
    if year == 0:
        return []
    first = date(year, 1, 1)
    return [first + timedelta(n) for n in range(date(year, 12, 31).timetuple().tm_yday)]


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("time", "23:59:59Z"),
        ("time", "00:00:00.123456789+23:59"),
        ("date-time", "2024-02-29T12:30:00z"),
        ("date-time", "2023-02-29T12:30:00Z"),
        ("date-time", "2023-02-28T12:30:60Z"),
        ("time", "24:00:00Z"),
        ("time", "12:30:60+01:00"),
        ("time", "12:30:00"),
        ("hostname", ".".join(["a" * 62] * 4) + ".b"),
        ("hostname", ".".join(["a" * 62] * 4) + ".bc"),
    ],
)
def test_texts_match_as_jsonschema_has_them(format_: str, text: str) -> None:
    checker = Draft202012Validator.FORMAT_CHECKER
    assert bool(pattern_of(format_).search(text)) == checker.conforms(text, format_)


def test_the_callers_pattern_stays_beside_the_exact_one() -> None:
    schema = {"format": "date", "pattern": "^20", "allOf": [{"maxLength": 10}]}
    rewritten = exact({"items": schema})["items"]
    assert rewritten["pattern"] == "^20"
    assert rewritten["allOf"][0] == {"maxLength": 10}
    assert re.search(rewritten["allOf"][1]["pattern"], "2000-02-29")


def test_formats_that_are_values_and_not_keywords_stay() -> None:
    schema = {"properties": {"format": {"const": {"format": "date"}}}, "default": {"format": "time"}}
    assert exact(schema) == schema


@pytest.mark.parametrize(
    "pattern",
    [
        '^[^"]$', r"^[^\\]$", r'^[^\\"\n]$', "^[^a]$", "^[^^]$", r"^[^\]]$", r"^[^\d\s]$", '^["a-c]$',
        r"^[\\/]$", r'^(?:[^\n"]|x)$', r"^\s$", r"^\S$", r"^[\s\d-]$", r"^[\s\S]$", r"^[^\S]$", r"^\.$", "^[.]$",
    ],
)  # fmt: skip
def test_of_all_ascii_characters_just_those_that_match_the_pattern_are_let_through(pattern: str) -> None:
    grammar = LLMatcher.grammar_from_lark("start: " + json_rule({"type": "string", "pattern": pattern}))
    characters = [chr(code) for code in range(1, 127) if code >= 32 or chr(code) in "\b\f\n\r\t"]
    assert [c for c in characters if accepts(grammar, json.dumps(c))] == [
        c for c in characters if re.search(pattern, c)
    ]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^\S$", "\ufeff"),
        (r"^\s$", "\x85"),
        (r"^[^\s]$", "\ufeff"),
        (r"^[^\S]$", "\x85"),
        ("^.$", "\u2028"),
        ("^.$", "\r"),
    ],
)
def test_white_space_and_line_ends_are_those_of_ecmascript(pattern: str, text: str) -> None:
    grammar = LLMatcher.grammar_from_lark("start: " + json_rule({"type": "string", "pattern": pattern}))
    assert not accepts(grammar, json.dumps(text, ensure_ascii=False))


def accepts(grammar: str, value: str) -> bool:
    matcher = LLMatcher(LLTokenizer("byte"), grammar)
    return matcher.consume_tokens(list(value.encode())) and matcher.is_accepting()
