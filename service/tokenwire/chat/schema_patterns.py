"""Regular expressions in JSON schemas: what of them llguidance does not take as ECMA-262 has it."""

import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"\\(?:x\{|x[0-9A-Fa-f]{2}|u\{[^}]*\}|u[0-9A-Fa-f]{4}|[pP]\{[^}]*\}|.)"
    r"|\(\?(?:<?[=!]|:|P?<)?|&&|--|~~|\[\^?\]?|.",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(
    # Letters that mean the same, or that Rust refuses; NUL is none of them (see `without_nul`).
    r"\\(?:[dDwWsSbBtnrfvck]|x(?!00)..|u(?!0000)[^{]{4}|u\{0*[1-9A-Fa-f][^}]*\}|"
    r"p\{(?:[LMNPSZ][a-z]?|(?:Script|sc)=\w+)\}|[^A-Za-z\0])"
)


def unenforced(pattern: str) -> str | None:
    """The first part of a pattern that would not be enforced as ECMA-262 has it; None if there is none.

    Those are classes within classes and their operators (`[a[b]]`, `[a&&b]`), flags (`(?i)`), letters that only Rust
    has a meaning for (`\\A`, `\\z`, `\\a`), categories that have control characters (`\\P{L}`, `\\p{C}`), and NUL.
    """
    for token, in_class in _tokens(pattern):
        match token[0]:
            case "\\" if not _ESCAPE.fullmatch(token):
                return token
            # ECMA-262 has an empty class, and one of everything, where Rust takes the bracket for a member.
            case "[" if in_class or token.endswith("]"):
                return token
            case "\0":
                return token
        if token in ("&&", "--", "~~") if in_class else token == "(?":
            return token
    return None


def without_nul(pattern: str) -> str:
    """The pattern with NUL taken out of its negated classes.

    Where a class has all control characters, llguidance 1.9 (`json_quote` of derivre) adds the quote and the backslash
    to it: `[^"]` would match a quote. JSON as it is generated has no NUL anyway.
    """
    return "".join(f"{token}\\x00" if token == "[^" and not in_class else token for token, in_class in _tokens(pattern))


def _tokens(pattern: str) -> Iterator[tuple[str, bool]]:
    """The parts of a pattern, and whether each is within a class."""
    in_class = False
    for token in _TOKEN.findall(pattern):
        yield token, in_class
        in_class = token != "]" if in_class else token[0] == "["
