"""The gateway: an HTTP port, and a channel to the service."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from tokenwire.access_log import AccessLog
from tokenwire.config import GatewayConfig, SecurityConfig
from tokenwire.gateway.forwarded import ForwardingMiddleware
from tokenwire.gateway.remote import MAX_WRITE_S, RemoteChat
from tokenwire.listen import listen
from tokenwire.metrics.calls import CallMetrics
from tokenwire.metrics.exposition import exposition
from tokenwire.rest.app import create_app
from tokenwire.rest.server import RestServer
from tokenwire.security.security import Security
from tokenwire.security.watched_files import SecurityFileError

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest message of the service: log-probabilities of many choices are long."""

KEEPALIVE_MS = 60_000
KEEPALIVE_TIMEOUT_MS = 20_000

# Of several servers those that are healthy get the calls in turn. Nothing is tried again: the HTTP client knows best.
_SEVERAL = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
_ONE: Mapping[str, object] = {}
"""It is asked whatever its health: it knows best why it refuses."""


class Gateway:
    """Call `start`, then `stop`."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises `SecurityFileError`."""
        self.port = config.http_port
        """The real one once started."""
        self._config = config
        self._security = Security(SecurityConfig(tls_cert=config.tls_cert, tls_key=config.tls_key))
        self._credentials = _credentials(config)
        self._channel: grpc.aio.Channel | None = None
        self._rest: RestServer | None = None

    async def start(self) -> None:
        """Serve. The service need not be there yet. Raises `ListenError`."""
        config = self._config
        listener = listen(config.host, config.http_port)
        self.port = listener.getsockname()[1]
        self._security.start()
        self._channel = _open(config, self._credentials)
        self._rest = RestServer(
            create_gateway_app(
                self._channel,
                max_body_bytes=config.max_message_bytes,
                cors_origins=config.cors_origins,
                strict_fields=config.strict_fields,
                playground=config.playground,
            ),
            listener,
            max_connections=config.max_connections,
            tls=self._security.tls,
            close_timeout_s=config.drain_grace_s,
        )
        self._rest.start()

    async def stop(self) -> None:
        """Take no more requests; those that are live get `drain_grace_s` seconds to finish."""
        if self._rest is not None:
            await self._rest.stop()
        if self._channel is not None:
            await self._channel.close()
        await self._security.stop()


def create_gateway_app(
    channel: grpc.aio.Channel,
    *,
    max_body_bytes: int,
    keepalive_s: float = 15.0,
    max_write_s: float = MAX_WRITE_S,
    cors_origins: Sequence[str] = (),
    strict_fields: bool = False,
    playground: bool = True,
) -> ASGIApp:
    """The REST application on the service behind `channel`."""
    backend = RemoteChat(channel, max_write_s=max_write_s)
    metrics = CollectorRegistry()
    app = create_app(
        backend,
        max_body_bytes=max_body_bytes,
        keepalive_s=keepalive_s,
        observers=(AccessLog(), CallMetrics(metrics)),
        cors_origins=cors_origins,
        strict_fields=strict_fields,
        playground=playground,
        metrics=partial(exposition, metrics),
    )
    return ForwardingMiddleware(app)


def _open(config: GatewayConfig, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    options = [
        # The JSON of a request that is not too large is larger than its message.
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.service_config", json.dumps(_SEVERAL if _names_several(config.target) else _ONE)),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(config.target, options)
    return grpc.aio.secure_channel(config.target, credentials, options)


def _names_several(target: str) -> bool:
    """`dns:///name:port` and `ipv4:address:port,address:port`, not `host:port`."""
    return not re.fullmatch(r"(\[[^]]*\]|[^:]+):\d+", target)


def _credentials(config: GatewayConfig) -> grpc.ChannelCredentials | None:
    """None: plain text."""
    if (config.target_cert is None) != (config.target_key is None):
        raise SecurityFileError("--target-cert and --target-key go together")
    if not (config.target_tls or config.target_ca or config.target_cert):
        return None
    ca, key, cert = map(_read, (config.target_ca, config.target_key, config.target_cert))
    return grpc.ssl_channel_credentials(ca, key, cert)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise SecurityFileError(f"{path} cannot be read: {error.strerror}") from None
