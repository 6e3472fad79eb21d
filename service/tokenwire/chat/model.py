"""A served model as the front end knows it: name, limits, tokenizer, template, fingerprint."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tokenwire.engine.protocol import EngineInfo


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model under the name that requests give."""

    id: str
    info: EngineInfo
    created: datetime
    """When this server loaded it, in UTC."""
    system_fingerprint: str
    """`fp_…`; names weights, precision, tokenizer, template and version."""

    @classmethod
    def load(cls, id: str, info: EngineInfo, chat_template: Path | None = None) -> "ServedModel":
        """Read tokenizer and template from `info.model_path`; `chat_template` is a Jinja file to use instead.

        Takes some seconds: call it off the event loop. Raises `ModelLoadError` with a message for the operator.
        """
        raise NotImplementedError


class ModelLoadError(Exception):
    """Tokenizer or chat template cannot be used; the message is for the operator."""
