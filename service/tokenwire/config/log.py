"""Options of the log."""

from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, to standard error."""

    log_level: LogLevel = "info"
    """Least severe level that is logged."""

    log_format: LogFormat = "text"
    """`text` for people, `json` for machines."""

    log_prompts: bool = False
    """Log every prompt and every answer, too, at level info. They are people's words: mind who reads the log."""
