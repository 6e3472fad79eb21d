"""What a few files say, read again when one of them changes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

POLL_INTERVAL_S = 1.0

_log = logging.getLogger(__name__)


class SecurityFileError(Exception):
    """A file of keys or certificates cannot be used; the message is for the operator."""


class Watched(Protocol):
    """Something that comes from files."""

    def reload_if_changed(self) -> None:
        """Read the files again if one of them has changed. May block. Never raises for what is in the files."""


class WatchedFiles(Generic[T]):
    """`current` is what the files said when they were last good."""

    def __init__(self, paths: Sequence[Path], read: Callable[[], T]) -> None:
        """`read` reads all of `paths`. Raises `SecurityFileError`, as it does."""
        self._paths = paths
        self._read = read
        self._signature = self._sign()  # before reading: a change in between is then seen
        self.current = read()

    def reload_if_changed(self) -> None:
        """As `Watched` has it. What cannot be used leaves `current` as it was; the log says so."""
        signature = self._sign()
        if signature == self._signature:
            return
        self._signature = signature
        names = ", ".join(map(str, self._paths))
        try:
            self.current = self._read()
        except SecurityFileError as error:
            _log.error("%s changed and cannot be used; what was read before stays in force: %s", names, error)
        else:
            _log.info("%s changed and was read again", names)

    def _sign(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_signature, self._paths))


async def keep_fresh(watched: Sequence[Watched], *, interval_s: float = POLL_INTERVAL_S) -> None:
    """Look after changes until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        for files in watched:
            await asyncio.to_thread(files.reload_if_changed)


def read_text(path: Path, *, max_bytes: int) -> str:
    """The text of a file. Raises `SecurityFileError`."""
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise SecurityFileError(f"{path} has more than {max_bytes} bytes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SecurityFileError(f"{path} cannot be read: {error}") from error


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Changes when a file is written or replaced; links are followed, as those of Kubernetes secrets change."""
    try:
        status = path.expanduser().stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
