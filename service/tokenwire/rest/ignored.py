"""What becomes of fields that nobody knows: they are named in a header, or refused."""

import logging
from collections.abc import Callable, Sequence
from urllib.parse import quote

from tokenwire.errors import InvalidRequestError, Violation

UnknownFields = Callable[[Sequence[str]], dict[str, str]]
"""Takes their paths in the body, and gives headers for the answer or raises `InvalidRequestError`."""

IGNORED_FIELDS_HEADER = "x-tokenwire-ignored-fields"

_logger = logging.getLogger(__name__)
_MAX_SHOWN = 16


def ignored_fields_headers(paths: Sequence[str]) -> dict[str, str]:
    """The header that names them; it is logged, too."""
    if not paths:
        return {}
    names = [quote(path[:100], safe="[]", errors="backslashreplace") for path in paths[:_MAX_SHOWN]]
    if len(paths) > len(names):
        names.append(f"and {len(paths) - len(names)} more")
    listed = ", ".join(names)
    _logger.info("ignored fields that are not known: %s", listed)
    return {IGNORED_FIELDS_HEADER: listed}


def refuse_ignored_fields(paths: Sequence[str]) -> dict[str, str]:
    """The strict switch."""
    if paths:
        known = "is no parameter that is known here"
        raise InvalidRequestError([Violation(path, f"`{path[:100]}` {known}", "unknown_parameter") for path in paths])
    return {}
