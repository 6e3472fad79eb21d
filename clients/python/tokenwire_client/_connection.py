"""How a channel is opened: TLS, options, retries and metadata, which the sync and the async client share."""

import json
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal

import grpc

DEFAULT_TARGET = "127.0.0.1:50051"

# The server says UNAVAILABLE before any work; gRPC says it of a connection that cannot be made or breaks, and tries
# again only as long as nothing of the answer has come. A server that sends `grpc-retry-pushback-ms` chooses the delay.
# A request that comes twice has one completion, for every one has an id.
_METHOD_CONFIG = [
    {
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.2s",
            "maxBackoff": "5s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
]

LoadBalancing = Literal["pick_first", "round_robin", "weighted_round_robin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """What is seldom changed about a connection."""

    max_message_bytes: int = 32 * 1024 * 1024
    """Largest message either way; also what gRPC may keep of a request to send it again."""

    keepalive_interval_s: float = 60.0
    """While a call is open, a silent connection is probed this often."""

    keepalive_timeout_s: float = 20.0
    """A probe without an answer for this long ends the connection: its calls get UNAVAILABLE."""

    retries: bool = True
    """Whether gRPC tries a call again that got UNAVAILABLE: up to four attempts, with exponential backoff."""

    load_balancing: LoadBalancing = "pick_first"
    """How calls are spread over the addresses of the target: all to the first that answers; in turn to all that their
    health services call healthy; or to these by the load that they report."""

    @property
    def service_config(self) -> dict[str, object]:
        """What gRPC reads of it as a service config."""
        config: dict[str, object] = {"methodConfig": _METHOD_CONFIG} if self.retries else {}
        if self.load_balancing != "pick_first":
            config["loadBalancingConfig"] = [{self.load_balancing: {}}]
            config["healthCheckConfig"] = {"serviceName": ""}
        return config


def tls(
    *,
    ca: "str | PathLike[str] | None" = None,
    cert: "str | PathLike[str] | None" = None,
    key: "str | PathLike[str] | None" = None,
) -> grpc.ChannelCredentials:
    """TLS, for `credentials` of a client. Files in PEM form: `ca` has whom to trust (default: the usual roots), `cert`
    and `key` are the caller's own certificate, if the server asks for one. Raises `OSError` for a file that cannot be
    read, `ValueError` for a certificate without its key."""
    if (cert is None) != (key is None):
        raise ValueError("`cert` and `key` belong together")
    ca_bytes, key_bytes, cert_bytes = (None if file is None else Path(file).read_bytes() for file in (ca, key, cert))
    return grpc.ssl_channel_credentials(ca_bytes, key_bytes, cert_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where and how to connect."""

    target: str
    credentials: grpc.ChannelCredentials | None
    """None: plain text."""
    api_key: str | None = field(repr=False)
    timeout_s: float | None
    """For calls that give none; None: no limit."""
    resume: bool
    """For streams that do not say."""
    transport: Transport

    def timeout(self, timeout_s: float | None) -> float | None:
        """The time limit of a call that was given this one, or none."""
        return self.timeout_s if timeout_s is None else timeout_s

    @property
    def options(self) -> list[tuple[str, str | int]]:
        """Channel arguments."""
        transport = self.transport
        return [
            ("grpc.max_send_message_length", transport.max_message_bytes),
            ("grpc.max_receive_message_length", transport.max_message_bytes),
            # Without it a request over 256 KiB is never tried again.
            ("grpc.per_rpc_retry_buffer_size", transport.max_message_bytes),
            ("grpc.keepalive_time_ms", int(transport.keepalive_interval_s * 1000)),
            ("grpc.keepalive_timeout_ms", int(transport.keepalive_timeout_s * 1000)),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.enable_retries", int(transport.retries)),
            ("grpc.service_config", json.dumps(transport.service_config)),
        ]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with every call."""
        return () if self.api_key is None else (("authorization", f"Bearer {self.api_key}"),)
