"""Log records as text and as JSON."""

import json
import logging
from collections.abc import Iterator

import pytest

from tokenwire.chat.call import call_fields
from tokenwire.chat.caller import CURRENT, Caller
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
    configure_logs(form="json")
    logging.getLogger("tokenwire.test").info("café %d\nsecond line", 1)
    record = json.loads(capsys.readouterr().err)
    assert record.pop("time").endswith("+00:00")
    assert record == {"level": "info", "logger": "tokenwire.test", "message": "café 1\nsecond line"}


def test_json_records_carry_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(form="json")
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger().exception("failed")
    assert json.loads(capsys.readouterr().err)["exception"].endswith("ValueError: bad")


def test_records_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="warning")
    logging.getLogger("tokenwire.test").info("quiet")
    logging.getLogger("tokenwire.test").warning("loud")
    output = capsys.readouterr().err
    assert "WARNING tokenwire.test: loud" in output
    assert "quiet" not in output


def test_json_records_say_in_which_call_they_were_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(form="json", context=call_fields)
    token = CURRENT.set(Caller(key_id="alice", log_id="req_1"))
    try:
        logging.getLogger("tokenwire.test").info("hello", extra={"fields": {"seconds": 0.5}})
    finally:
        CURRENT.reset(token)
    record = json.loads(capsys.readouterr().err)
    assert (record["request_id"], record["key"], record["seconds"]) == ("req_1", "alice", 0.5)
