"""Texts that are worth trying: weird Unicode, JSON that is broken or deep, schemas, regular expressions, grammars."""

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

_WEIRD: Final = (
    "",
    "\0",
    "\ufeff",
    "\u202e",
    "\u2028",
    "\ufffd",
    "\U000f0000<|im_end|>\U000f0001",  # the marks that the tokenizer puts around control tokens
    "<|im_start|>assistant\n",
    "</tool_call>",
    "{{ messages }}",
    "{% raw %}",
    "👩\u200d👩\u200d👧",
    "e" + "\u0301" * 300,
    "\U0010ffff",
    "%s%n",
    "`" * 20,
    "x" * 5000,
    "é" * 3000,
    "\n" * 2000,
)

_BROKEN_JSON: Final = (
    "",
    " ",
    "{",
    "[]",
    "null",
    "NaN",
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    '{"\\udfff": 1}',
    '{"a": 1, "a": 2}',
    '{"a": ' + "9" * 5000 + "}",
    "[" * 70 + "]" * 70,
    '{"a":' * 70 + "1" + "}" * 70,
    "[" * 20_000,
    "\ufeff{}",
    "{}x",
    '{"a": 1,}',
    "{'a': 1}",
)

_GOOD_SCHEMA: Final = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
_TYPES: Final = ("object", "string", "integer", "number", "boolean", "array", "null", "any", 3)
_PATTERNS: Final = ("^a+$", "(a|b)*", "(?=a)", "[", "\\d{1000}", "(a{1000}){1000}", "\\p{L}", "", "^$")
_NUMBERS: Final = (0, 1, -1, 5, 1e308, 2**63, 10**30, 0.1, -5)

_REGEXES: Final = (
    "a+",
    "[0-9]{1,3}",
    "(a|b)*c",
    "(",
    "a{100000}",
    "(?=a)b",
    "\\",
    "[^",
    "(?P<x>",
    "x{2,1}",
    ".*" * 50,
)

_GRAMMARS: Final = (
    'start: "a" | "b"',
    "start: start",
    "start: x",
    "start: (start start)+",
    'start: "a"{1000000}',
    "start: /a{1000}/{1000}\n",
    "start: @regex",
    'answer: "a"\nstart: answer',
    "%llguidance {}\nstart: /.*/",
    'start: %json {"type": "object"}',
    'start: %json {"$ref": "#"}',
    "start: <|im_end|>",
    "start: <[0-99999]>",
    "%import common.INT\nstart: INT",
    "start: " + "(" * 3000,
)

_KWARGS: Final = ("{}", '{"messages": []}', '{"enable_thinking": false}', '{"tools": 1, "x": 2}', '{"": 0}')


def text(rng: Random) -> str:
    """Any text that UTF-8 can spell."""
    if rng.random() < 0.4:
        return "hello"
    if rng.random() < 0.5:
        return rng.choice(_WEIRD)
    return "".join(map(_character, [rng] * rng.randint(0, 12)))


def json_value(rng: Random, depth: int = 0) -> Any:
    """What JSON can say."""
    kind = rng.randrange(8 if depth < 4 else 6)
    match kind:
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.randint(-5, 5)
        case 2:
            return rng.choice(_NUMBERS)
        case 3:
            return rng.uniform(-1e9, 1e9)
        case 4 | 5:
            return text(rng)
        case 6:
            return [json_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        case _:
            return {text(rng): json_value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def json_text(rng: Random) -> str:
    """The text of a JSON value, or what is nearly one."""
    return rng.choice(_BROKEN_JSON) if rng.random() < 0.5 else json.dumps(json_value(rng))


def schema_text(rng: Random) -> str:
    """The text of a JSON schema, good or bad."""
    if rng.random() < 0.3:
        return _GOOD_SCHEMA
    return json.dumps(_schema(rng, 0)) if rng.random() < 0.7 else json_text(rng)


def arguments_text(rng: Random) -> str:
    """The text of a call's arguments."""
    return rng.choice(("{}", '{"a": 1}')) if rng.random() < 0.6 else json_text(rng)


def kwargs_text(rng: Random) -> str:
    """The text of template variables."""
    return rng.choice(_KWARGS) if rng.random() < 0.5 else json_text(rng)


def regex(rng: Random) -> str:
    """A regular expression, or what is nearly one."""
    if rng.random() < 0.5:
        return rng.choice(_REGEXES)
    return "".join(rng.choices("ab.*+?|()[]{}019,^$\\-", k=rng.randint(1, 12)))


def grammar(rng: Random) -> str:
    """A Lark grammar, or what is nearly one."""
    chosen = rng.choice(_GRAMMARS)
    if rng.random() < 0.6:
        return chosen
    position = rng.randrange(len(chosen))
    return chosen[:position] + text(rng) + chosen[position:]


def _character(rng: Random) -> str:
    point = rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x110000)))
    return "?" if 0xD800 <= point < 0xE000 else chr(point)


def _schema(rng: Random, depth: int) -> Any:
    if depth > 3 or rng.random() < 0.2:
        return rng.choice((True, False, {}, {"type": rng.choice(_TYPES)}, json_value(rng, 3)))
    keywords = rng.sample(list(_KEYWORDS), rng.randint(1, 4))
    return {keyword: _KEYWORDS[keyword](rng, depth + 1) for keyword in keywords}


def _named(rng: Random, depth: int) -> Any:
    return {rng.choice(("a", "b", "", "$ref", "é")): _schema(rng, depth) for _ in range(rng.randint(0, 3))}


def _listed(rng: Random, depth: int) -> Any:
    return [_schema(rng, depth) for _ in range(rng.randint(0, 3))]


def _number(rng: Random, depth: int) -> Any:
    return rng.choice(_NUMBERS)


def _one_of(*values: Any) -> Callable[[Random, int], Any]:
    return lambda rng, depth: rng.choice(values)


_KEYWORDS: Final[Mapping[str, Callable[[Random, int], Any]]] = {
    "type": _one_of(*_TYPES, ["string", "null"], [], [3]),
    "properties": _named,
    "required": _one_of(["a"], ["z"], ["a", "a"], [], [3], "a"),
    "additionalProperties": _schema,
    "items": lambda rng, depth: rng.choice((_schema, _listed))(rng, depth),
    "prefixItems": _listed,
    "anyOf": _listed,
    "allOf": _listed,
    "oneOf": _listed,
    "enum": lambda rng, depth: [json_value(rng, 2) for _ in range(rng.randint(0, 3))],
    "const": lambda rng, depth: json_value(rng, 2),
    "pattern": _one_of(*_PATTERNS, 3),
    "patternProperties": lambda rng, depth: {rng.choice(_PATTERNS): _schema(rng, depth)},
    "format": _one_of("date-time", "uuid", "ipv4", "nonsense", 3),
    "minimum": _number,
    "maximum": _number,
    "multipleOf": _number,
    "minLength": _number,
    "maxLength": _number,
    "minItems": _number,
    "maxItems": _number,
    "$ref": _one_of("#", "#/$defs/a", "#/properties/a", "http://x/", "#/%", "", 3),
    "$defs": _named,
    "$id": _one_of("x", 3),
    "not": _schema,
    "x-unknown": json_value,
}
"""With values that fit them and that do not."""
