"""Builds all clients, or those that are named: PYTHONPATH=tests python -m clients.build [go ...]"""

import sys
import time

from clients.languages import discover


def main() -> None:
    languages = discover()
    for name in sys.argv[1:] or languages:
        started_s = time.monotonic()
        if missing := languages[name].missing():
            sys.exit(f"{name}: not installed here: {', '.join(missing)}")
        languages[name].build()
        print(f"{name}: built ({time.monotonic() - started_s:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
