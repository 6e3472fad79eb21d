"""JSON in text fields of a request: parsed within limits, so that no caller's text costs much stack or time."""

import json
import re
from collections.abc import Iterator
from math import isfinite

from tokenwire.errors import Violation

MAX_INTEGER_DIGITS = 1000
"""Python takes time quadratic in the digits of an integer, and refuses more than 4,300."""

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json_text(field: str, text: str, *, max_bytes: int, max_depth: int) -> object | Violation:
    """The JSON value (RFC 8259) of a text, or what is wrong with it: compare with `isinstance(…, Violation)`.

    `max_depth` bounds the arrays and objects inside each other. Numbers are finite and strings are Unicode text, for
    both reach the prompt; of equal keys in an object the last one counts.
    """
    if (size := len(text.encode())) > max_bytes:
        return Violation(field, f"`{field}` must have at most {max_bytes} bytes; got {size}", "string_above_max_length")
    if (depth := _depth(text)) > max_depth:
        return Violation(field, f"`{field}` must have at most {max_depth} levels of arrays and objects; got {depth}")
    try:
        value: object = json.loads(text, parse_int=_integer, parse_float=_decimal, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        surrogate = f"\\u{ord(error.object[error.start]):04x}"
        return Violation(field, f"`{field}` must be Unicode text; got the lone surrogate {surrogate}")
    except ValueError as error:
        return Violation(field, f"`{field}` must be JSON text: {error}")
    return value


def parse_json_object(field: str, text: str, *, max_bytes: int, max_depth: int) -> dict[str, object] | Violation:
    """The same for a text that must be that of an object."""
    value = parse_json_text(field, text, max_bytes=max_bytes, max_depth=max_depth)
    if isinstance(value, Violation | dict):
        return value
    return Violation(field, f"`{field}` must be the text of a JSON object; got {text[:40]!r}")


def _depth(text: str) -> int:
    """How deep a JSON text goes; of a text that is not JSON, at least how deep a parser goes before it finds out."""
    return max(_depths(text), default=0)


def _depths(text: str) -> Iterator[int]:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            yield depth
        elif match[0] in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"integers must have at most {MAX_INTEGER_DIGITS} digits; got {len(digits)}")
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"numbers must be finite; got {digits[:32]}")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"numbers must be finite; got {name}")
