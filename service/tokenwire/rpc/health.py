"""Health: one status a service, and the name `live` for the process itself."""

from grpc_health.v1.health import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse

SERVICES = (
    "tokenwire.v1.ChatService",
    "tokenwire.v1.ModelService",
    "tokenwire.v1.OperationsService",
    "tokenwire.v1.TokenService",
)
LIVE = "live"


class Health:
    """The readiness of all services together. `servicer` answers `grpc.health.v1`."""

    def __init__(self) -> None:
        self.servicer = aio.HealthServicer()

    async def set_serving(self, serving: bool) -> None:
        """Set the status of `""` and of every service; `live` is SERVING as long as the process answers."""
        status = HealthCheckResponse.SERVING if serving else HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):  # not `enter_graceful_shutdown`: it would end `live` too
            await self.servicer.set(name, status)
        await self.servicer.set(LIVE, HealthCheckResponse.SERVING)
