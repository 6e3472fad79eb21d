"""One version for the server, the clients and the chart, wherever it is written."""

import re
from pathlib import Path

import pytest

from tokenwire import __version__

ROOT = Path(__file__).parents[2]
PLACES = {
    "clients/cpp/CMakeLists.txt": r"project\(tokenwire VERSION (\S+)",
    "clients/cpp/README.md": r"`tokenwire/([\d.]+)`",
    "clients/cpp/conanfile.py": r'version = "(.+)"',
    "clients/java/README.md": r"<version>(.+)</version>",
    "clients/java/pom.xml": r"<artifactId>tokenwire-client</artifactId>\s*<version>(.+)</version>",
    "clients/node/package.json": r'"version": "(.+)"',
    "clients/ruby/lib/tokenwire/version.rb": r'VERSION = "(.+)"',
    "deploy/helm/tokenwire/Chart.yaml": r"(?m)^version: (.+)$",
}


@pytest.mark.parametrize("place", PLACES)
def test_the_version_is_that_of_the_server(place: str) -> None:
    assert re.findall(PLACES[place], (ROOT / place).read_text()) == [__version__]


def test_the_list_of_places_to_change_at_a_release_is_whole() -> None:
    steps = (ROOT / "docs/releasing.md").read_text()
    assert [place for place in PLACES if f"`{place}`" not in steps] == []
