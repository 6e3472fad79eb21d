"""Log records as text and as JSON."""

import json
import logging
from collections.abc import Iterator

import pytest

from tokenwire.config import LogConfig
from tokenwire.logs import configure_logs


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Puts the root logger back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_records_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogConfig(log_format="json"))
    logging.getLogger("tokenwire.test").info("café %d\nsecond line", 1)
    record = json.loads(capsys.readouterr().err)
    assert record.pop("time").endswith("+00:00")
    assert record == {"level": "info", "logger": "tokenwire.test", "message": "café 1\nsecond line"}


def test_json_records_carry_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogConfig(log_format="json"))
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger().exception("failed")
    assert json.loads(capsys.readouterr().err)["exception"].endswith("ValueError: bad")


def test_records_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogConfig(log_level="warning"))
    logging.getLogger("tokenwire.test").info("quiet")
    logging.getLogger("tokenwire.test").warning("loud")
    output = capsys.readouterr().err
    assert "WARNING tokenwire.test: loud" in output
    assert "quiet" not in output
