"""`tokenwire serve` as an operator watches it: probes by `tokenwire health`, metrics, logs in JSON."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.serve_process import TOKENWIRE, ServeProcess
from support.tiny import make_model
from tokenwire_client import Client

CALL_TIMEOUT_S = 120
OPTIONS = ("--device", "cpu", "--threads", "1", "--port", "0", "--metrics-port", "0", "--log-format", "json")


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def served(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """The tiny model, ready, without REST."""
    log = tmp_path_factory.mktemp("log") / "log"
    with ServeProcess("--model", tiny_model, *OPTIONS, log=log) as process:
        yield process.wait_until_ready("metrics")


def health(target: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*TOKENWIRE, "health", "--target", target, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)


def test_health_is_0_where_the_server_serves(served: ServeProcess) -> None:
    done = health(served.target, "--wait-s", "60")
    assert (done.returncode, done.stdout) == (0, "SERVING\n")


def test_health_is_1_where_nobody_answers() -> None:
    done = health("127.0.0.1:1")
    assert done.returncode == 1
    assert "no server answers" in done.stderr


def test_metrics_are_there_without_rest(served: ServeProcess) -> None:
    with Client(served.target, timeout_s=CALL_TIMEOUT_S) as client:
        client.chat("hi", max_completion_tokens=4, ignore_eos=True)
    text = httpx.get(served.metrics_url, timeout=CALL_TIMEOUT_S).text
    assert 'tokenwire_generation_tokens_total{model_name="tiny"} 4.0' in text


# The last one: it ends the server.
def test_every_line_of_the_log_is_json_the_engine_s_too_and_has_no_text_of_callers(served: ServeProcess) -> None:
    with Client(served.target, timeout_s=CALL_TIMEOUT_S) as client:
        answer = client.chat("a very secret word", max_completion_tokens=4)
    served.signal(signal.SIGTERM)
    assert served.wait() == 0
    log = served.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    (access,) = [
        line for line in lines if line["logger"] == "tokenwire.access" and line.get("completion_id") == answer.id
    ]
    assert access["code"] == "OK"
    assert any(line["logger"].startswith("tokenwire.engine") for line in lines)
    assert "secret" not in log
