"""The languages that there is a client for: what each needs, how it is built, and how its programs are run."""

import importlib
import os
import pkgutil
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROTO = ROOT / "proto"
DRIVER_PROTO = ROOT / "tests/clients/driver"
"""To be on the path of protoc beside `PROTO`: tokenwire/conformance/driver.proto."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language, with the client of it in `clients/`."""

    name: str
    build: Callable[[], None]
    """Builds the client, the driver and the examples, as the client's README says. Does only what is left to do."""
    driver: Sequence[str | Path]
    """The command that runs the conformance driver (see `driver.proto`)."""
    example: Callable[[str], Sequence[str | Path]]
    """The command that runs an example, by its name (`stream`); the server's address is to be appended."""
    programs: Sequence[str] = ()
    """Must be on the path."""
    files: Sequence[Path] = ()
    """Must exist."""
    packages: Sequence[str] = ()
    """Debian packages that have all of these."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For the driver and the examples, beside what there is."""
    fails: Mapping[str, str] = field(default_factory=dict)
    """Cases of the conformance table that it fails by a defect of what it is built with here: name and defect."""

    def missing(self) -> list[str]:
        """What this machine lacks."""
        programs = [program for program in self.programs if shutil.which(program) is None]
        return programs + [str(path) for path in self.files if not path.exists()]


def discover() -> dict[str, Language]:
    """All of them, by name: what the modules of this package define."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Language)]
    return {language.name: language for language in sorted(found, key=lambda language: language.name)}


def is_newer(product: Path, sources: Iterable[Path]) -> bool:
    """Whether it was made after all of them."""
    return product.exists() and all(path.stat().st_mtime <= product.stat().st_mtime for path in sources)


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a command of a build. Raises `RuntimeError` with its output when it fails; `TimeoutExpired` after 15 min."""
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    if ended.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {ended.returncode}:\n{ended.stdout}")
