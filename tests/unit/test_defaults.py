"""Defaults of the API and of checkpoints."""

import json
from pathlib import Path

import pytest

from tokenwire.chat.defaults import API_DEFAULTS, DefaultsError, checkpoint_defaults
from tokenwire.chat.parameters import effective_parameters
from tokenwire.v1.chat_pb2 import ChatCompletionRequest


def test_a_checkpoint_without_the_file_has_the_defaults_of_the_api(tmp_path: Path) -> None:
    assert checkpoint_defaults(tmp_path) == API_DEFAULTS
    assert API_DEFAULTS.temperature == 1


def test_a_request_wins_over_the_checkpoint(tmp_path: Path) -> None:
    told = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True, "eos_token_id": 2, "min_p": None}
    (tmp_path / "generation_config.json").write_text(json.dumps(told))
    defaults = checkpoint_defaults(tmp_path)
    asked = ChatCompletionRequest(temperature=0, n=2)
    parameters = effective_parameters(asked, prompt_tokens=1, context_length=9, defaults=defaults)
    assert (parameters.temperature, parameters.top_k, parameters.top_p, parameters.min_p) == (0, 20, 0.95, 0)
    assert (parameters.n, parameters.repetition_penalty) == (2, 1)


@pytest.mark.parametrize(
    ("text", "what"),
    [("{", "cannot be read"), ("[]", "object"), ('{"top_p": 2}', "top_p"), ('{"top_k": "many"}', "top_k")],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(DefaultsError, match=what):
        checkpoint_defaults(tmp_path)
