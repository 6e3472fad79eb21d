"""The official JSON-Schema-Test-Suite of draft 2020-12, out of the sdist of the PyPI package `jsonschema`."""

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SuiteGroup:
    """A schema of the suite, and values that do not match it."""

    schema: dict[str, Any]
    invalid: tuple[Any, ...]


def fetch_suite() -> list[SuiteGroup]:
    """Those schemas that are objects, fetched with pip from its index. Raises `subprocess.CalledProcessError`."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "jsonschema")
    with tempfile.TemporaryDirectory() as folder:
        package = f"jsonschema=={version('jsonschema')}"
        subprocess.run([*pip, "--dest", folder, package], check=True, timeout=300)
        (archive,) = Path(folder).glob("jsonschema-*.tar.gz")
        return list(_groups(archive))


def _groups(archive: Path) -> Iterator[SuiteGroup]:
    with tarfile.open(archive) as files:
        for member in sorted(files.getmembers(), key=lambda member: member.name):
            if "/json/tests/draft2020-12/" not in member.name or (file := files.extractfile(member)) is None:
                continue
            for group in json.load(file):
                if isinstance(group["schema"], dict):
                    invalid = (test["data"] for test in group["tests"] if not test["valid"])
                    yield SuiteGroup(group["schema"], tuple(invalid))
