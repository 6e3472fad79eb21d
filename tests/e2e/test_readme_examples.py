"""The examples of the READMEs run as they stand, against the real command."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.conftest import CALL_TIMEOUT_S, MODEL
from support.serve_process import ServeProcess

pytestmark = pytest.mark.smollm2

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent


def examples(file: str, language: str, *, of: str = "") -> list[str]:
    """The code blocks of a language that have this text in them."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return [code for code in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if of in code]


# Those whose answers are bounded, and which the demo model's template knows.
PYTHON = [
    code
    for file in ("README.md", "clients/python/README.md")
    for code in examples(file, "python", of="tokenwire_client")
    if "enable_thinking" not in code
]
SHELL = [code for text in ("response_format", "--regex") for code in examples("README.md", "sh", of=text)]


def output(server: ServeProcess, *command: str) -> str:
    """Of an example that succeeds, with the server's addresses and model in it."""
    words = {
        "127.0.0.1:50051": server.target,
        "http://127.0.0.1:8000": server.url.removesuffix("/v1"),
        "smollm2-135m-instruct": MODEL,
        ".venv/bin/": f"{BINARIES}/",
        "curl http": "curl --silent --show-error --fail-with-body http",
    }
    *flags, code = command
    for word, own in words.items():
        code = code.replace(word, own)
    environment = {
        **os.environ,
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "TOKENWIRE_TARGET": server.target,
    }
    done = subprocess.run(
        [*flags, code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=CALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[0])
def test_a_python_example_runs(smollm2_command: ServeProcess, code: str) -> None:
    assert output(smollm2_command, sys.executable, "-W", "error", "-c", code).strip()


@pytest.mark.parametrize("code", SHELL, ids=lambda code: code.split()[0])
def test_a_shell_example_runs(smollm2_command: ServeProcess, code: str) -> None:
    assert output(smollm2_command, "bash", "-e", "-c", code).strip()
