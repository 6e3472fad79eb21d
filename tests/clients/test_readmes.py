"""What the READMEs of the clients show is what runs: their first program, and all examples by name."""

import re
from pathlib import Path

import pytest

from clients.languages import discover

CLIENTS = Path(__file__).parents[2] / "clients"
READMES = [CLIENTS / name / "README.md" for name in discover() if (CLIENTS / name).is_dir()]
FENCES = {".py": "python", ".ts": "ts", ".go": "go", ".java": "java", ".cc": "cpp", ".rb": "ruby"}

every_client = pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)


def examples(readme: Path) -> dict[str, Path]:
    """The programs, by their names: a file without its ending, or a folder."""
    files = [file for file in (readme.parent / "examples").rglob("*") if file.suffix in FENCES]
    return {file.parent.name if file.stem == "main" else file.stem: file for file in files}


@every_client
def test_the_first_program_is_the_quickstart(readme: Path) -> None:
    (quickstart,) = [file for name, file in examples(readme).items() if name.lower() == "quickstart"]
    fence = FENCES[quickstart.suffix]
    block = re.search(rf"^```{fence}\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block
    assert block[1] == quickstart.read_text(encoding="utf-8")


@every_client
def test_every_example_is_named(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    names = [name for name in examples(readme) if not re.search(rf"\b{re.escape(name)}\b", text)]
    assert not names


@every_client
def test_there_is_an_example_of_each_kind(readme: Path) -> None:
    kinds = {"quickstart", "unary", "stream", "tools", "jsonschema", "cancel", "deadline", "resume", "tlsandkey"}
    assert kinds <= {re.sub(r"[-_]", "", name).lower() for name in examples(readme)}
