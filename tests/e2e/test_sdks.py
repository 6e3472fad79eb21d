"""Other people's clients of the OpenAI API against the real command. `make test-sdks` installs them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import MODEL
from support.serve_process import ServeProcess

pytestmark = pytest.mark.smollm2

ROOT = Path(__file__).parents[2]
SDKS = ROOT / "tests/sdks"
PYTHON = ROOT / ".sdks/bin/python"
NODE = SDKS / "node"
TIMEOUT_S = 240


def run(served: ServeProcess, *command: str | Path, folder: Path) -> str:
    """What a client's tests print. They must pass, and see no other server: a proxy that is none takes all else."""
    environment = {
        **os.environ,
        "TOKENWIRE_URL": served.url,
        "TOKENWIRE_MODEL": MODEL,
        "LANGSMITH_TRACING": "false",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    return ended.stdout


@pytest.mark.parametrize("client", sorted(path.stem for path in SDKS.glob("with_*.py")))
def test_a_python_client_is_served(smollm2_command: ServeProcess, client: str) -> None:
    if not (ROOT / ".sdks/stamp").exists():
        pytest.skip("make test-sdks installs the clients")
    run(smollm2_command, PYTHON, "-m", "pytest", "-q", f"{client}.py", folder=SDKS)


def test_the_sdk_for_node_is_served(smollm2_command: ServeProcess) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules").exists():
        pytest.skip("make test-sdks installs the client, where there is Node")
    assert "# fail 0" in run(smollm2_command, "node", "--test", "--test-reporter=tap", folder=NODE)
