"""The admin port: channelz, for who is logged in on the machine."""

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_reflection.v1alpha import reflection

from tokenwire.listen import ListenError, format_address

LOOPBACK = "127.0.0.1"
"""Nothing else, whatever `--host` says: channelz tells the addresses of all peers and asks nobody for a key."""

_MAX_MESSAGE_BYTES = 64 * 1024


class AdminServer:
    """channelz on a loopback port, with reflection, so that grpcurl can call it."""

    def __init__(self, port: int) -> None:
        """Port 0 takes a free one."""
        self._port = port
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
        self._server = grpc.aio.server(options=options)
        channelz.add_channelz_servicer(self._server)
        names = [service.full_name for service in channelz_pb2.DESCRIPTOR.services_by_name.values()]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)

    async def start(self) -> str:
        """Listen. Returns the address. Raises `ListenError`."""
        try:
            port = self._server.add_insecure_port(format_address(LOOPBACK, self._port))
        except RuntimeError as error:
            raise ListenError(LOOPBACK, self._port) from error
        await self._server.start()
        return format_address(LOOPBACK, port)

    async def stop(self) -> None:
        """Cut off whoever is looking."""
        await self._server.stop(None)
