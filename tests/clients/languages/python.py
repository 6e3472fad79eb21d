"""The Python client, with its blocking `Client`."""

import sys

from clients.languages import ROOT, Language

CLIENT = ROOT / "clients/python"
DRIVER = ROOT / "tests/clients/python_driver.py"
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "tests")}


def build() -> None:
    """It is installed with the tests."""


LANGUAGE = Language(
    name="python",
    build=build,
    driver=(sys.executable, DRIVER, "sync"),
    example=lambda name: (sys.executable, CLIENT / f"examples/{name}.py"),
    environment=ENVIRONMENT,
)
