"""TLS of both transports, from PEM files; each handshake takes what they said last."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from tokenwire.security.watched_files import SecurityFileError, WatchedFiles, read_text

_MAX_PEM_BYTES = 1024 * 1024
_NO_PASSWORD = ""
"""Else OpenSSL would ask the terminal for that of an encrypted key."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files say, as the two transports take it."""

    configuration: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext


class Tls:
    """The certificate of the server and, where clients need one too, the authorities of theirs."""

    def __init__(self, *, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises `SecurityFileError`."""
        self._needs_client_certificate = client_ca is not None
        self.files = WatchedFiles(
            [cert, key, *([client_ca] if client_ca else [])], lambda: _read(cert=cert, key=key, client_ca=client_ca)
        )

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC port."""
        return grpc.dynamic_ssl_server_credentials(
            self.files.current.configuration,
            self._changes(),  # type: ignore[arg-type]  # the stubs have forgotten None
            self._needs_client_certificate,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """For a socket of Python's. Its handshakes go on in the newest context, authorities of clients included."""
        context = self.files.current.context

        def take_newest(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            connection.context = self.files.current.context

        context.sni_callback = take_newest
        return context

    def _changes(self) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
        """gRPC asks it before each handshake, one at a time; None: as before."""
        last = self.files.current.configuration

        def newest() -> grpc.ServerCertificateConfiguration | None:
            nonlocal last
            if last is self.files.current.configuration:
                return None
            last = self.files.current.configuration
            return last

        return newest


def _read(*, cert: Path, key: Path, client_ca: Path | None) -> TlsMaterial:
    """Both transports refuse what does not fit together here: certificate and key that are no pair, for one."""
    certificates = read_text(cert, max_bytes=_MAX_PEM_BYTES)
    private_key = read_text(key, max_bytes=_MAX_PEM_BYTES)
    authorities = None if client_ca is None else read_text(client_ca, max_bytes=_MAX_PEM_BYTES)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert.expanduser(), key.expanduser(), password=_NO_PASSWORD)
        if authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=authorities)
    except (OSError, ValueError) as error:  # SSLError is an OSError; ValueError: not ASCII
        raise SecurityFileError(f"not a certificate, its key and authorities in PEM: {error}") from error
    if authorities is not None:
        # A resumed session would not look at the authorities again.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
    configuration = grpc.ssl_server_certificate_configuration(
        [(private_key.encode(), certificates.encode())], None if authorities is None else authorities.encode()
    )
    return TlsMaterial(configuration, context)
