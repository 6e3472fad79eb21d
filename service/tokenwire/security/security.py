"""All that a server needs of keys and certificates, as its options say."""

import asyncio
import ipaddress
import logging
from contextlib import suppress

from tokenwire.config import SecurityConfig
from tokenwire.security.access import Access
from tokenwire.security.key_file import read_keys
from tokenwire.security.tls import Tls
from tokenwire.security.watched_files import SecurityFileError, Watched, WatchedFiles, keep_fresh

_log = logging.getLogger(__name__)


class Security:
    """Who may call, and how connections are protected. `start` looks after changes of the files until `stop`."""

    def __init__(self, config: SecurityConfig) -> None:
        """Raises `SecurityFileError`."""
        self._watched: list[Watched] = []
        keys = None
        if (path := config.api_keys) is not None:
            keys = WatchedFiles([path], lambda: read_keys(path))
            self._watched.append(keys)
        self.tls = _tls(config)
        """None: connections are plain."""
        if self.tls is not None:
            self._watched.append(self.tls.files)
        self.access = Access(keys)
        self._has_keys = keys is not None
        self._checks_clients = config.tls_client_ca is not None
        self._task: asyncio.Task[None] | None = None

    def warn(self, *, host: str) -> None:
        """Where a network is trusted too much."""
        if not _is_loopback(host):
            if not (self._has_keys or self._checks_clients):
                _log.warning("anybody who reaches %s may call: see --api-keys", host)
            if self.tls is None:
                _log.warning("connections to %s are not encrypted: see --tls-cert", host)

    def start(self) -> None:
        """Look after changes."""
        if self._watched:
            self._task = asyncio.create_task(keep_fresh(self._watched))

    async def stop(self) -> None:
        """No more changes."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def _tls(config: SecurityConfig) -> Tls | None:
    if (config.tls_cert is None) != (config.tls_key is None):
        raise SecurityFileError("--tls-cert and --tls-key go together")
    if config.tls_cert is None or config.tls_key is None:
        if config.tls_client_ca is not None:
            raise SecurityFileError("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    return Tls(cert=config.tls_cert, key=config.tls_key, client_ca=config.tls_client_ca)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
