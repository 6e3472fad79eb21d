"""Adds keys to a key file."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import yaml

from tokenwire.security.api_keys import KeyRing, key_digest, new_key, parse_keys
from tokenwire.security.watched_files import SecurityFileError, read_text

MAX_KEY_FILE_BYTES = 4 * 1024 * 1024


def read_keys(path: Path) -> KeyRing:
    """The keys of a file. Raises `SecurityFileError`."""
    text = read_text(path, max_bytes=MAX_KEY_FILE_BYTES)
    try:
        return parse_keys(text)
    except SecurityFileError as error:
        raise SecurityFileError(f"{path}: {error}") from error


def add_key(path: Path, name: str, fields: dict[str, object]) -> str:
    """Append an entry for a new key, with `fields` beside its name and hash; returns the key, which is kept nowhere.

    The file is replaced at once, and stays as it was where it or the entry is bad (`SecurityFileError`).
    """
    path = Path(os.path.realpath(path.expanduser()))  # a link stays a link
    text = read_text(path, max_bytes=MAX_KEY_FILE_BYTES) if path.exists() else ""
    num_before = len(read_keys(path).keys) if text else 0
    key = new_key()
    entry = {"name": name, "hash": f"sha256:{key_digest(key).hex()}", **fields}
    appended = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)
    whole = f"{text}\n{appended}" if text and not text.endswith("\n") else text + appended
    _check(whole, num_keys=num_before + 1)
    try:
        _replace(path, whole)
    except OSError as error:
        raise SecurityFileError(f"{path} cannot be written: {error}") from error
    return key


def _check(text: str, *, num_keys: int) -> None:
    try:
        parsed = len(parse_keys(text).keys)
    except SecurityFileError as error:
        raise SecurityFileError(f"the entry cannot be added: {error}") from error
    if parsed != num_keys:
        raise SecurityFileError("the entry cannot be added: the file must be a list in block style (`- name: …`)")


def _replace(path: Path, text: str) -> None:
    """Write a file beside it and put that in its place, with its permissions; a new one is for its owner only."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            status = path.stat()
            os.chmod(temporary, status.st_mode & 0o777)
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, status.st_uid, status.st_gid)  # else the server could not read it any more
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
