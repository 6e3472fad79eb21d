"""The gRPC server: options, address, services, health and reflection."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tokenwire.chat.call import CallObserver
from tokenwire.chat.service import ChatService
from tokenwire.config import ServerConfig
from tokenwire.listen import ListenError, format_address
from tokenwire.rpc.foreign import ForeignInterceptor
from tokenwire.rpc.health import SERVICES, Health
from tokenwire.rpc.interceptor import ErrorInterceptor
from tokenwire.rpc.observed import CallInterceptor
from tokenwire.rpc.operations import OperationsServicer
from tokenwire.rpc.servicers import ChatServicer, ModelServicer, TokenServicer
from tokenwire.security.access import ANYBODY, Access
from tokenwire.security.tls import Tls
from tokenwire.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from tokenwire.v1.models_pb2_grpc import add_ModelServiceServicer_to_server
from tokenwire.v1.operations_pb2_grpc import add_OperationsServiceServicer_to_server
from tokenwire.v1.tokens_pb2_grpc import add_TokenServiceServicer_to_server

MAX_STREAMS = 4096
"""Of one connection: a client of many threads needs one only."""

HANDSHAKE_TIMEOUT_S = 20
"""A new connection must have said hello, of TLS and of HTTP/2."""


class RpcServer:
    """All gRPC services on one port."""

    def __init__(
        self,
        service: ChatService,
        config: ServerConfig,
        *,
        access: Access = ANYBODY,
        tls: Tls | None = None,
        reflection: bool = True,
        observers: Sequence[CallObserver] = (),
    ) -> None:
        """Health and reflection ask nobody who they are; `reflection` says whether there is any."""
        self.health = Health()
        self._config = config
        self._tls = tls
        calls = CallInterceptor(observers, load=lambda: service.load)
        interceptors = (calls, ErrorInterceptor(access), ForeignInterceptor())
        self._server = grpc.aio.server(interceptors=interceptors, options=_options(config))
        add_ChatServiceServicer_to_server(ChatServicer(service), self._server)
        add_ModelServiceServicer_to_server(ModelServicer(service), self._server)
        add_TokenServiceServicer_to_server(TokenServicer(service), self._server)
        add_OperationsServiceServicer_to_server(OperationsServicer(service), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        if reflection:
            _add_reflection(self._server)

    async def start(self) -> int:
        """Listen, NOT_SERVING. Returns the port. Raises `ListenError`."""
        await self.health.set_serving(False)  # the stock servicer begins with SERVING
        address = format_address(self._config.host, self._config.port)
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._tls.grpc_credentials())
        except RuntimeError as error:
            raise ListenError(self._config.host, self._config.port) from error
        await self._server.start()
        return port

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls; cancel those that are live after `grace_s` seconds."""
        await self._server.stop(grace_s)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # else a second server shares the port without a word
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        # Metadata over the first are refused more and more often, those over the second always.
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_S * 1000),
        # Clients may ping a quiet connection every 10 s, also without a call; the server pings after 60 s.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A busy loop takes up few calls a second. What waits for longer than this gRPC cancels; its own limit is 30 s.
        ("grpc.server_max_unrequested_time_in_server", 120),
    ]


def _add_reflection(server: grpc.aio.Server) -> None:
    """Reflection under both names: the library has v1alpha only, and v1 is the same on the wire."""
    names = (*SERVICES, health.SERVICE_NAME, grpc_reflection.SERVICE_NAME)
    servicer = grpc_reflection.aio.ReflectionServicer(names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", methods)]
    )
