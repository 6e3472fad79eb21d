"""Options of the log."""

from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, to standard error."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""

    log_format: Literal["text", "json"] = "text"
    """`text` for people, `json` for machines."""

    log_prompts: bool = False
    """Log every prompt and every answer, too, at level info. They are people's words: mind who reads the log."""
