"""All that a server needs of keys and certificates, as its options say."""

import asyncio
import ipaddress
import logging
from contextlib import suppress

from tokenwire.config import SecurityConfig
from tokenwire.security.access import Access
from tokenwire.security.api_keys import parse_keys
from tokenwire.security.key_file import MAX_KEY_FILE_BYTES
from tokenwire.security.tls import Tls
from tokenwire.security.watched_files import Watched, WatchedFiles, keep_fresh, read_text

_log = logging.getLogger(__name__)


class Security:
    """Who may call, and how connections are protected. `start` looks after changes of the files until `stop`."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises `SecurityFileError`."""
        self.tls: Tls | None = None
        """None: connections are plain."""
        self._watched: list[Watched] = []
        keys = None
        if (path := config.api_keys) is not None:
            keys = WatchedFiles([path], lambda: parse_keys(read_text(path, max_bytes=MAX_KEY_FILE_BYTES)))
            self._watched.append(keys)
        if config.tls_cert is not None and config.tls_key is not None:
            self.tls = Tls(cert=config.tls_cert, key=config.tls_key, client_ca=config.tls_client_ca)
            self._watched.append(self.tls.files)
        self.access = Access(keys)
        self._has_keys = keys is not None
        self._checks_clients = config.tls_client_ca is not None
        self._task: asyncio.Task[None] | None = None

    def start(self, *, host: str) -> None:
        """Look after changes; warn where a network is trusted too much."""
        if not _is_loopback(host):
            if not (self._has_keys or self._checks_clients):
                _log.warning("anybody who reaches %s may call: see --api-keys", host)
            if self.tls is None:
                _log.warning("connections to %s are not encrypted: see --tls-cert", host)
        if self._watched:
            self._task = asyncio.create_task(keep_fresh(self._watched))

    async def stop(self) -> None:
        """No more changes."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
