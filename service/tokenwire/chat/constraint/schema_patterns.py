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
    # Letters that mean the same, or that Rust refuses; NUL is none of them (see `exact_pattern`).
    r"\\(?:[dDwWsSbBtnrfvck]|x(?!00)..|u(?!0000)[^{]{4}|u\{0*[1-9A-Fa-f][^}]*\}|"
    r"p\{(?:[LMNPSZ][a-z]?|(?:Script|sc)=\w+)\}|[^A-Za-z\0])"
)

_EXACT: Final = {
    ".": r"[^\n\r\u2028\u2029]",
    r"\s": r"[\s&&[^\x85]]",
    r"\S": r"[^\s\uFEFF]",
    "[^": r"[^\x00\x85\uFEFF",
}


def unenforced(pattern: str) -> str | None:
    """The first part of a pattern that would not be enforced as ECMA-262 has it; None if there is none.

    Those are classes within classes and their operators (`[a[b]]`, `[a&&b]`), flags (`(?i)`), letters that only Rust
    has a meaning for (`\\A`, `\\z`, `\\a`), categories that have control characters (`\\P{L}`, `\\p{C}`), and NUL.
    """
    for token, class_ in _tokens(pattern):
        match token[0]:
            case "\\" if not _ESCAPE.fullmatch(token):
                return token
            # ECMA-262 has an empty class, and one of everything, where Rust takes the bracket for a member.
            case "[" if class_ or token.endswith("]"):
                return token
            case "\0":
                return token
        if token in ("&&", "--", "~~") if class_ else token == "(?":
            return token
    return None


def exact_pattern(pattern: str) -> str:
    """The pattern, in which nothing is `unenforced`, in words that Rust takes as ECMA-262 takes the caller's.

    White space is without U+0085 and with U+FEFF, and `.` is no line end of any kind. Negated classes have no NUL:
    where a class has all control characters, llguidance 1.9 (`json_quote` of derivre) adds the quote and the backslash
    to it, so that `[^"]` would match a quote. (JSON as it is generated has no NUL anyway.)
    """
    return "".join(
        token if class_ == "[^" or (class_ and token == ".") else _EXACT.get(token, token)
        for token, class_ in _tokens(pattern)
    )


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    """The parts of a pattern, and how the class that each is within begins, if it is."""
    class_ = ""
    for token in _TOKEN.findall(pattern):
        yield token, class_
        if class_:
            class_ = "" if token == "]" else class_
        elif token[0] == "[":
            class_ = token
