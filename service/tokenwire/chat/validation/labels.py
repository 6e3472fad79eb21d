"""The rules of what labels a request: `metadata` and `user`."""

from collections.abc import Iterator, Mapping

from tokenwire.chat.validation.limits import (
    MAX_METADATA_KEY_LENGTH,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE_LENGTH,
    MAX_USER_LENGTH,
)
from tokenwire.errors import Violation


def check_user(user: str) -> Iterator[Violation]:
    """The violation of an overlong id."""
    yield from _check_length("user", user, MAX_USER_LENGTH)


def check_metadata(metadata: Mapping[str, str]) -> Iterator[Violation]:
    """The violations of too many tags, and of tags that are too long."""
    if len(metadata) > MAX_METADATA_PAIRS:
        description = f"`metadata` must have at most {MAX_METADATA_PAIRS} tags; got {len(metadata)}"
        yield Violation("metadata", description, "object_above_max_properties")
        return
    for key, value in sorted(metadata.items()):
        if not key:
            yield Violation("metadata", "`metadata` must have keys of at least 1 character; got ''")
        elif len(key) > MAX_METADATA_KEY_LENGTH:
            description = f"`metadata` must have keys of at most {MAX_METADATA_KEY_LENGTH} characters; got {len(key)}"
            yield Violation("metadata", description, "string_above_max_length")
        else:
            yield from _check_length(f"metadata[{key}]", value, MAX_METADATA_VALUE_LENGTH)


def _check_length(field: str, text: str, most: int) -> Iterator[Violation]:
    if len(text) > most:
        description = f"`{field}` must have at most {most} characters; got {len(text)}"
        yield Violation(field, description, "string_above_max_length")
