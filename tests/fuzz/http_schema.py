"""schemathesis against the HTTP side: requests that keep to an OpenAPI document, and requests that break it."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from fuzz.calls import HANG_S
from fuzz.target import Target

DOCUMENT: Final = Path(__file__).parent / "openapi.json"
"""Integers are lists of values in it: to a JSON schema 1.0 is an integer, to the OpenAI API it is none."""

TIMEOUT_S: Final = 540.0
_CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "positive_data_acceptance",
    "unsupported_method",
)


def run_schemathesis(target: Target, *, seed: int, max_examples: int, phases: str = "fuzzing,coverage") -> str:
    """What schemathesis prints. Raises `AssertionError` with it where a check failed."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(DOCUMENT)),
        *("--url", f"http://127.0.0.1:{target.http_port}"),
        *("--seed", str(seed), "--max-examples", str(max_examples), "--phases", phases),
        *("--checks", ",".join(_CHECKS), "--request-timeout", str(HANG_S)),
        *("--generation-database", "none", "--warnings", "off", "--no-color"),
    ]
    with tempfile.TemporaryDirectory() as folder:  # it keeps a folder of its own where it runs
        ended = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=TIMEOUT_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
