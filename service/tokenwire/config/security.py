"""Options of security: keys, certificates, and what strangers may see."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tokenwire.config.checks import check_port


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """Who may call, and how connections are protected. docs/security.md has the files."""

    api_keys: Path | None = None
    """YAML file with the API keys, which every call then needs; read again when it changes; `tokenwire keys add` writes
    it. Default: anybody may call."""

    tls_cert: Path | None = None
    """PEM file with the server's certificate and those between it and the authority; read again when it changes."""

    tls_key: Path | None = None
    """PEM file with the private key of the certificate, not encrypted."""

    tls_client_ca: Path | None = None
    """PEM file with authorities: clients need a certificate of one of them."""

    reflection: bool = True
    """Whether gRPC clients may ask for the contract. It tells nothing that is not public."""

    admin_port: Annotated[int | None, Parameter(validator=check_port)] = None
    """Port of channelz, on the loopback only; 0 takes a free one; default: no channelz."""
