"""Every client runs the whole conformance table: README.md says how to read it and how to run a part of it."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest
import pytest_asyncio

from clients.conformance.case import Case, load_cases
from clients.conformance.driver import Driver
from clients.conformance.stage import Files, play
from clients.conftest import Built
from clients.languages import Language

# The first case of a language builds it.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

Drivers: TypeAlias = dict[str, Driver]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Tokenizers and certificates."""
    return Files(tmp_path_factory.mktemp("conformance"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def drivers() -> AsyncIterator[Drivers]:
    """Those that have been started, by language."""
    drivers: Drivers = {}
    yield drivers
    for driver in drivers.values():
        await driver.close()


@pytest.fixture
def driver(language: Language, built: Built, drivers: Drivers) -> Driver:
    """That of the language."""
    return drivers.setdefault(language.name, Driver(built(language)))


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
async def test_conformance(
    request: pytest.FixtureRequest, language: Language, driver: Driver, case: Case, files: Files
) -> None:
    if (defect := language.fails.get(case.name)) is not None:
        request.applymarker(pytest.mark.xfail(reason=defect, raises=AssertionError, strict=True))
    await play(case, driver, files)
