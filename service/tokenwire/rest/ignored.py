"""Tells the operator and the caller about fields that nobody knows."""

import logging
from collections.abc import Sequence
from urllib.parse import quote

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
