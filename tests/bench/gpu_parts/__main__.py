"""Runs one part: `python -m bench.gpu_parts PART [--tiny]`."""

import sys
from importlib import import_module

from bench.gpu_parts.scale import FULL, TINY

if __name__ == "__main__":
    import_module(f"bench.gpu_parts.{sys.argv[1]}").run(TINY if "--tiny" in sys.argv else FULL)
