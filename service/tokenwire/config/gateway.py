"""Options of `tokenwire gateway`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from tokenwire.config.checks import check_message_size, check_not_negative, check_port, check_positive
from tokenwire.config.log import LogFormat, LogLevel

_HERE = Group("HTTP")
_THERE = Group("The service")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Where the gateway listens, and what stands behind it."""

    target: Annotated[str, Parameter(group=_THERE)] = "127.0.0.1:50051"
    """Address of the service's gRPC port, or of several (`dns:///name:port`, `ipv4:address:port,address:port`): those
    that are healthy get the calls in turn."""

    target_tls: Annotated[bool, Parameter(group=_THERE, negative="")] = False
    """Encrypt the connection to the service, and trust the usual authorities."""

    target_ca: Annotated[Path | None, Parameter(group=_THERE)] = None
    """Encrypt the connection to the service, and trust the authorities in this PEM file."""

    target_cert: Annotated[Path | None, Parameter(group=_THERE)] = None
    """PEM file with a certificate of the gateway's own, for a service that asks who calls."""

    target_key: Annotated[Path | None, Parameter(group=_THERE)] = None
    """PEM file with its private key."""

    host: Annotated[str, Parameter(group=_HERE)] = "127.0.0.1"
    """Address to listen on."""

    http_port: Annotated[int, Parameter(validator=check_port, group=_HERE)] = 8000
    """REST port; 0 takes a free one."""

    tls_cert: Annotated[Path | None, Parameter(group=_HERE)] = None
    """PEM file with the certificate of the REST port; read again when it changes."""

    tls_key: Annotated[Path | None, Parameter(group=_HERE)] = None
    """PEM file with its private key, not encrypted."""

    cors_origins: Annotated[tuple[str, ...], Parameter(group=_HERE, negative="")] = ()
    """Origins whose pages may call (`https://chat.example.com`), or `*` for all; default: none."""

    strict_fields: Annotated[bool, Parameter(group=_HERE, negative="")] = False
    """Refuse requests with fields that nobody knows; default: ignore them, and name them in a header."""

    playground: Annotated[bool, Parameter(group=_HERE)] = True
    """Whether there is a page at `/` that tries out what is served."""

    max_message_bytes: Annotated[int, Parameter(validator=check_message_size, group=_HERE)] = 32 * 1024 * 1024
    """Largest request body."""

    max_connections: Annotated[int, Parameter(validator=check_positive, group=_HERE)] = 1024
    """Most connections; more are closed at once."""

    drain_grace_s: Annotated[float, Parameter(validator=check_not_negative, group=_HERE)] = 30.0
    """Seconds that running requests get to finish after SIGTERM."""

    log_level: LogLevel = "info"
    """Least severe level that is logged, to standard error."""

    log_format: LogFormat = "text"
    """`text` for people, `json` for machines."""
