"""The gRPC server: options, address, services, health and reflection."""

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tokenwire.chat.service import ChatService
from tokenwire.config import ServerConfig
from tokenwire.listen import ListenError, format_address
from tokenwire.rpc.health import SERVICES, Health
from tokenwire.rpc.interceptor import ErrorInterceptor
from tokenwire.rpc.servicers import ChatServicer, ModelServicer, TokenServicer
from tokenwire.v1.chat_pb2_grpc import add_ChatServiceServicer_to_server
from tokenwire.v1.models_pb2_grpc import add_ModelServiceServicer_to_server
from tokenwire.v1.tokens_pb2_grpc import add_TokenServiceServicer_to_server


class RpcServer:
    """All gRPC services on one port."""

    def __init__(self, service: ChatService, config: ServerConfig) -> None:
        self.health = Health()
        self._config = config
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=_options(config))
        add_ChatServiceServicer_to_server(ChatServicer(service), self._server)
        add_ModelServiceServicer_to_server(ModelServicer(service), self._server)
        add_TokenServiceServicer_to_server(TokenServicer(service), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._server)
        _add_reflection(self._server)

    async def start(self) -> int:
        """Listen, NOT_SERVING. Returns the port. Raises `ListenError`."""
        await self.health.set_serving(False)  # the stock servicer begins with SERVING
        try:
            port = self._server.add_insecure_port(format_address(self._config.host, self._config.port))
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
        # Clients may ping a quiet connection every 10 s, also without a call; the server pings after 60 s.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]


def _add_reflection(server: grpc.aio.Server) -> None:
    """Reflection under both names: the library has v1alpha only, and v1 is the same on the wire."""
    servicer = reflection.aio.ReflectionServicer((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME))
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
