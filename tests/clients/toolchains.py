"""Installs what the clients are built with, and builds them: PYTHONPATH=tests python -m clients.toolchains"""

import os
import shutil
import subprocess
import sys
import time

from clients.languages import Language, discover

APT = ("apt-get", "-qq", "-o", "Acquire::Retries=3")


def missing_packages(languages: dict[str, Language]) -> list[str]:
    """Debian packages that have what is missing; prints what that is."""
    packages: set[str] = set()
    for name, language in languages.items():
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
    languages = discover()
    if packages := missing_packages(languages):
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            print(f"not installed, for this is not root on Debian: {' '.join(packages)}")
            return 1
        install(packages)
    for name, language in languages.items():
        started_s = time.monotonic()
        language.build()
        print(f"{name}: built ({time.monotonic() - started_s:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
