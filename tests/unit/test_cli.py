"""The command line: help, precedence of options, clear errors, and no torch in a client."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from tokenwire import __version__
from tokenwire.cli.app import app
from tokenwire.config import ServeConfig


def parse(*tokens: str) -> ServeConfig:
    """The options that `tokenwire serve` makes of flags, environment and file."""
    _, bound, _ = app.parse_args(["serve", *tokens], exit_on_error=False, print_error=False)
    arguments: dict[str, Any] = {**bound.arguments}
    arguments.pop("config", None)
    return ServeConfig(**arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A YAML file with options."""
    path = tmp_path / "options.yaml"
    path.write_text("model: from-file\nport: 1\nhttp_port: 2\nkv_memory: 1GiB\n", encoding="utf-8")
    return path


def test_defaults_stand_where_nothing_is_given() -> None:
    config = parse("--model", "m")
    assert (config.server.port, config.server.http_port, config.engine.kv_memory) == (50051, None, None)


def test_a_flag_wins_over_the_environment_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWIRE_HTTP_PORT", "12")
    monkeypatch.setenv("TOKENWIRE_PORT", "11")
    config = parse("--config", str(file), "--port", "21")
    assert (config.server.port, config.server.http_port, config.engine.kv_memory) == (21, 12, "1GiB")
    assert config.model.model == "from-file"


def test_the_file_may_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWIRE_CONFIG", str(file))
    assert parse().server.port == 1


def test_a_tilde_in_an_option_or_a_file_is_the_home_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    file.write_text("model: m\ncache_dir: ~/cache\n", encoding="utf-8")
    config = parse(f"--config=~/{file.name}")
    assert config.engine_options.cache_dir == file.parent / "cache"


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["--model", "m", "--port", "65536"], ["--port", "[0, 65535]", "65536"]),
        (["--model", "m", "--max-queue", "0"], ["--max-queue", "above 0", "got 0"]),
        (["--model", "m", "--drain-grace-s", "nan"], ["--drain-grace-s", "nan"]),
        (["--model", "m", "--max-message-bytes", "0"], ["--max-message-bytes", "got 0"]),
        (["--model", "m", "--kv-memory", "2GB"], ["--kv-memory", "GiB", "2GB"]),
        (["--model", "m", "--log-format", "xml"], ["--log-format", "json", "xml"]),
        (["--model", "m", "--prot", "1"], ["--prot"]),
        (["--model", "m", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        ([], ["--model"]),
    ],
)
def test_a_bad_option_is_named_with_its_limit_and_value(tokens: list[str], words: list[str]) -> None:
    with pytest.raises(CycloptsError) as caught:
        parse(*tokens)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("text", ["prot: 1", "- model", "model: [", "model: a: b", "model: \x00", "server: {port: 1}"])
def test_a_bad_file_is_an_error(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CycloptsError, match=re.escape(str(file))):
        parse("--model", "m", "--config", str(file))


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--help"], result_action="return_value")
    output = capsys.readouterr().out
    assert [name for name in ("serve", "chat", "generate", "bench", "--version") if name not in output] == []


def test_help_of_serve_shows_flags_and_environment(capsys: pytest.CaptureFixture[str]) -> None:
    app(["serve", "--help"], result_action="return_value")
    output = capsys.readouterr().out
    flags = ("--model", "--kv-memory", "--http-port", "--drain-grace-s", "--config", "TOKENWIRE_HTTP_PORT")
    assert [name for name in flags if name not in output] == []


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--version"], result_action="return_value")
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("module", ["tokenwire", "tokenwire.v1.chat_pb2", "tokenwire.cli.app", "tokenwire_client"])
def test_importing_the_client_side_never_imports_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_server_process_never_imports_torch() -> None:
    code = "import sys, tokenwire.run; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
