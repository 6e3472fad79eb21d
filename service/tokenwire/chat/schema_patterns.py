"""Regular expressions in schemas: what of them Rust's `regex`, which llguidance has, reads otherwise than ECMA-262."""

import re
from typing import Final

_TOKEN: Final = re.compile(r"\\(?:x\{|.)|\(\?(?:<?[=!]|:|P?<)?|&&|--|~~|\[\^?\]?|.", re.DOTALL)
_ESCAPES: Final = frozenset("dDwWsSbBtnrfvpPuxck")
"""Letters that mean the same after a backslash, or that Rust refuses."""


def unlike_ecma(pattern: str) -> str | None:
    """The first part of a pattern that has another meaning in ECMA-262; None if there is none.

    Those are classes within classes and their operators (`[a[b]]`, `[a&&b]`), flags (`(?i)`), and letters that only
    Rust has a meaning for (`\\A`, `\\z`, `\\a`).
    """
    in_class = False
    for token in _TOKEN.findall(pattern):
        if token[0] == "\\":
            if token == "\\x{" or (token[-1].isalpha() and token[-1] not in _ESCAPES):
                return str(token)
        elif in_class:
            if token[0] == "[" or token in ("&&", "--", "~~"):
                return str(token)
            in_class = token != "]"
        elif token == "(?":
            return str(token)
        elif token[0] == "[":
            # ECMA-262 has an empty class, and one of everything, where Rust takes the bracket for a member.
            if token.endswith("]"):
                return str(token)
            in_class = True
    return None
