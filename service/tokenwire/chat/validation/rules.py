"""Rules that several fields of a request share, each with its violation."""

import re
from collections.abc import Iterator, Sequence

from tokenwire.chat.validation.limits import MAX_NAME_LENGTH, MAX_TOKEN_IDS
from tokenwire.errors import Violation

MISSING = "missing_required_parameter"

_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def missing(field: str) -> Violation:
    """The violation of a field that must be set and is not."""
    return Violation(field, f"`{field}` is required", MISSING)


def check_count(field: str, count: int, most: int, what: str) -> Iterator[Violation]:
    """The violation of more than `most` elements."""
    if count > most:
        yield Violation(field, f"`{field}` must have at most {most} {what}; got {count}", "array_above_max_length")


def check_token_id(field: str, token_id: int, vocabulary_size: int) -> Iterator[Violation]:
    """The violation of a token id outside the vocabulary."""
    if not 0 <= token_id < vocabulary_size:
        description = f"`{field}`: token ids must be in [0, {vocabulary_size}), the model's vocabulary; got {token_id}"
        yield Violation(field, description)


def check_token_ids(field: str, token_ids: Sequence[int], vocabulary_size: int) -> Iterator[Violation]:
    """The violations of too many token ids, and of those outside the vocabulary."""
    yield from check_count(field, len(token_ids), MAX_TOKEN_IDS, "token ids")
    for index, token_id in enumerate(token_ids[:MAX_TOKEN_IDS]):
        yield from check_token_id(f"{field}[{index}]", token_id, vocabulary_size)


def check_name(field: str, name: str) -> Iterator[Violation]:
    """The violation of a name of a participant, function or schema."""
    if len(name) > MAX_NAME_LENGTH:
        description = f"`{field}` must have at most {MAX_NAME_LENGTH} characters; got {len(name)}"
        yield Violation(field, description, "string_above_max_length")
    elif not _NAME.fullmatch(name):
        yield Violation(field, f"`{field}` must be letters, digits, `_` and `-`, at least one; got {name!r}")
