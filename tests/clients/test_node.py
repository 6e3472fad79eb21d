"""What only the Node client has: tests of its own, a README whose code is type-checked, and a package."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.conftest import Built
from clients.languages.node import CLIENT, LANGUAGE

SNIPPETS = CLIENT / "build/snippets"
"""Inside the package, so that its name is known there."""


@pytest.fixture(autouse=True)
def _node(built: Built) -> None:
    built(LANGUAGE)


@pytest.fixture
def snippets() -> Iterator[Path]:
    shutil.rmtree(SNIPPETS, ignore_errors=True)
    SNIPPETS.mkdir(parents=True)
    yield SNIPPETS
    shutil.rmtree(SNIPPETS)


def run(*command: str | Path) -> str:
    """What a command prints, which must do well."""
    ended = subprocess.run(command, cwd=CLIENT, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_its_own_tests_pass() -> None:
    printed = run("npm", "test")
    assert re.search(r"^# pass [1-9]", printed, re.MULTILINE), printed
    assert "# skipped 0" in printed


def test_the_code_in_the_readme_compiles(snippets: Path) -> None:
    blocks = re.findall(
        r"^```ts\n(.*?)^```", (CLIENT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for number, block in enumerate(blocks):
        (snippets / f"{number}.ts").write_text(block, encoding="utf-8")
    options = {"rootDir": ".", "noEmit": True, "noUnusedLocals": False}
    config = {"extends": "../../tsconfig.json", "compilerOptions": options, "include": ["."]}
    (snippets / "tsconfig.json").write_text(json.dumps(config))
    assert len(blocks) > 1
    run("npx", "--no-install", "tsc", "-p", snippets)


def test_the_package_has_what_its_users_need() -> None:
    (package,) = json.loads(run("npm", "pack", "--dry-run", "--json", "--ignore-scripts"))
    files = {file["path"] for file in package["files"]}
    assert {"dist/index.js", "dist/index.d.ts", "dist/proto/tokenwire/v1/chat.proto", "README.md"} <= files
    assert all(file.startswith("dist/") for file in files - {"README.md", "LICENSE", "package.json"})
