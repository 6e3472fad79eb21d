"""What only the Java client has: its JUnit tests, and a pom that Maven can read."""

import subprocess
import xml.etree.ElementTree as ET

from clients.conftest import Built
from clients.languages.java import CLIENT, LANGUAGE, java

POM = {"pom": "http://maven.apache.org/POM/4.0.0"}


def test_the_tests_of_the_java_client_pass(built: Built) -> None:
    built(LANGUAGE)
    command = [*java("org.junit.runner.JUnitCore"), "dev.tokenwire.client.TokenwireClientTest"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_pom_publishes_what_the_readme_names() -> None:
    project = ET.parse(CLIENT / "pom.xml").getroot()
    readme = (CLIENT / "README.md").read_text(encoding="utf-8")
    for tag in ("groupId", "artifactId", "version"):
        assert f"<{tag}>{project.findtext(f'pom:{tag}', namespaces=POM)}</{tag}>" in readme
