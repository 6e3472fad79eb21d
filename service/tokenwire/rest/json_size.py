"""Counts the values of a JSON text before it is parsed.

Two bytes of JSON can become a hundred in memory, and all the while the parser stops the event loop. The count looks at
a piece at a time, for a regular expression stops the loop, too.
"""

import re

from tokenwire.chat.validation.limits import MAX_FIELDS
from tokenwire.errors import MalformedMessageError

SMALL_BODY_BYTES = 16 * 1024
"""Below it nothing needs to be counted."""

_MARKS = b"[{,"
"""One stands before each value but the first of an object; those in strings do not count."""

_BETWEEN = re.compile(rb'[^"\[{,]{0,65536}+')
_IN_STRING = re.compile(rb'(?:[^"\\]{1,65536}+|\\.){1,64}+', re.DOTALL)


def check_num_values(text: bytes) -> None:
    """Raises `MalformedMessageError` for more than `MAX_FIELDS` values. What is no JSON passes, or not.

    A value is at most two strings, its name and itself, so many more of them are refused, too.
    """
    if sum(map(text.count, (b"[", b"{", b","))) <= MAX_FIELDS:  # those in strings among them, but much faster
        return
    count = num_strings = position = 0
    while position < len(text):
        if between := _BETWEEN.match(text, position):
            position = between.end()
        mark = text[position : position + 1]
        if mark == b'"':
            position = _end_of_string(text, position + 1)
            num_strings += 1
        elif mark and mark in _MARKS:
            position += 1
            count += 1
        if count > MAX_FIELDS or num_strings > 4 * MAX_FIELDS:
            raise MalformedMessageError(f"the body has more than {MAX_FIELDS} values")


def _end_of_string(text: bytes, position: int) -> int:
    """Behind the quote that closes the string which has begun before `position`."""
    while piece := _IN_STRING.match(text, position):
        position = piece.end()
    return position + 1
