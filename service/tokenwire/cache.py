"""Where files are kept that can be fetched or made again."""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`tokenwire` in the user's cache folder; `TOKENWIRE_CACHE_DIR` names another."""
    if folder := os.environ.get("TOKENWIRE_CACHE_DIR"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenwire"
