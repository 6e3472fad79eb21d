"""What holds where a request sets nothing: the API's defaults, or where the operator asks the checkpoint's."""

import json
from pathlib import Path

from tokenwire.chat.validation.request import RANGES
from tokenwire.v1.chat_pb2 import EffectiveParameters

API_DEFAULTS = EffectiveParameters(temperature=1.0, top_p=1.0, n=1, repetition_penalty=1.0)
"""The seed is drawn and `max_completion_tokens` is what the context leaves."""

_OF_CHECKPOINTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_FILE = "generation_config.json"


class DefaultsError(Exception):
    """The checkpoint's defaults cannot be used; the message is for the operator."""


def checkpoint_defaults(folder: Path) -> EffectiveParameters:
    """The API's, but for what `generation_config.json` sets of temperature, top_p, top_k, min_p and repetition_penalty,
    as transformers writes them. Raises `DefaultsError`."""
    path = folder / _FILE
    try:
        told = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise DefaultsError(f"{path} cannot be read: {error}") from None
    if not isinstance(told, dict):
        raise DefaultsError(f"{path} must have a JSON object")
    defaults = EffectiveParameters()
    defaults.CopyFrom(API_DEFAULTS)
    for name in _OF_CHECKPOINTS:
        if (value := told.get(name)) is None:
            continue
        try:
            setattr(defaults, name, value)
        except (TypeError, ValueError) as error:
            raise DefaultsError(f"{path}: `{name}`: {error}") from None
        if violation := RANGES[name].violation(name, value):
            raise DefaultsError(f"{path}: {violation.description}")
    return defaults
