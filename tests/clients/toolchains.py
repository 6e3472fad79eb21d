"""Installs what clients are built with, and the browser of the tests: PYTHONPATH=tests python -m clients.toolchains"""

import os
import shutil
import subprocess
import sys

from clients.languages import discover

BROWSER = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""Programs, and the Debian packages that have them. Tests of pages are skipped where they are not."""

APT = ("apt-get", "-qq", "-o", "Acquire::Retries=3")


def missing_packages() -> list[str]:
    """Debian packages that have what is missing; prints what that is."""
    packages: set[str] = set()
    for name, language in discover().items():
        if missing := language.missing():
            print(f"{name}: not installed here: {', '.join(missing)}", flush=True)
            packages.update(language.packages)
    return sorted(packages)


def install(packages: list[str]) -> None:
    """Raises `CalledProcessError`."""
    print(f"installing {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update",), ("install", "--no-install-recommends", *packages)):
        subprocess.run([*APT, *command], env=environment, stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    packages = missing_packages()
    browser = [package for program, package in BROWSER.items() if shutil.which(program) is None]
    if not (packages or browser):
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"not installed, for this is not root on Debian: {' '.join([*packages, *browser])}")
        return 1 if packages else 0
    install([*packages, *browser])
    return 0


if __name__ == "__main__":
    sys.exit(main())
