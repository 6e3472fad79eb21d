"""Logging to standard error: lines for people or JSON objects for machines."""

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime


def _no_context() -> Mapping[str, str]:
    return {}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and perhaps `exception`.

    To these come the fields of the context in which the record was written, and those of its attribute `fields`.
    """

    def __init__(self, context: Callable[[], Mapping[str, str]] = _no_context) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._context(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure_logs(
    *, level: str = "info", form: str = "text", context: Callable[[], Mapping[str, str]] = _no_context
) -> None:
    """Send the records of all loggers to standard error, as `text` or `json`. A second call replaces the first.

    `context` gives what each JSON record says beside its message.
    """
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonFormatter(context))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
