"""llm, the command line: the server as an extra OpenAI model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdks.served import MODEL, TIMEOUT_S, URL, City

Llm = Callable[..., str]


@pytest.fixture
def llm(tmp_path: Path) -> Llm:
    """Runs `llm -m served …` and gives what it prints."""
    models = [{"model_id": "served", "model_name": MODEL, "api_base": URL, "supports_schema": True}]
    # YAML takes JSON.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", "-m", "served", *arguments]
        environment = {**os.environ, "LLM_USER_PATH": str(tmp_path)}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_a_question_is_answered(llm: Llm) -> None:
    assert "Paris" in llm("What is the capital of France?", "-o", "temperature", "0", "-o", "max_tokens", "12")


def test_an_answer_that_is_not_streamed_is_the_same(llm: Llm) -> None:
    asked = ("Hello!", "-o", "seed", "3", "-o", "max_tokens", "12")
    assert llm(*asked, "--no-stream") == llm(*asked)


def test_an_answer_follows_a_schema(llm: Llm) -> None:
    schema = json.dumps(City.model_json_schema())
    City.model_validate_json(llm("Tell me of Paris.", "--schema", schema, "-o", "seed", "1"))
