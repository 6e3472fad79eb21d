"""The clients of all languages: built once a session; else skipped or, with `--require-clients`, failed."""

import fcntl
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.languages import Language, discover

Built = Callable[[Language], Language]
"""Builds a language, the first time."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with a `language` run with each."""
    if "language" in metafunc.fixturenames:
        metafunc.parametrize("language", discover().values(), ids=lambda language: language.name, scope="session")


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Built:
    """Gives a language once it is built. Skips where something is missing."""
    done: set[str] = set()

    def build(language: Language) -> Language:
        if missing := language.missing():
            told = f"{language.name} needs {', '.join(missing)} (packages: {' '.join(language.packages) or 'none'})"
            if request.config.getoption("--require-clients"):
                pytest.fail(told, pytrace=False)
            pytest.skip(told)
        if language.name not in done:
            with Path(inspect.getfile(language.build)).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another run may build it, too
                language.build()
            done.add(language.name)
        return language

    return build
