"""The servicer of `OperationsService`: the load, once or again and again."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.duration_pb2 import Duration

from tokenwire.chat.load import ServiceLoad
from tokenwire.chat.service import ChatService
from tokenwire.errors import InvalidRequestError, Violation
from tokenwire.rpc.types import Context
from tokenwire.v1 import operations_pb2, operations_pb2_grpc

DEFAULT_INTERVAL_S = 1.0
MIN_INTERVAL_S = 0.1
MAX_INTERVAL_S = 3600.0


class OperationsServicer(operations_pb2_grpc.OperationsServiceServicer):
    """The load of the server."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    async def GetLoad(  # noqa: N802
        self, request: operations_pb2.GetLoadRequest, context: Context
    ) -> operations_pb2.Load:
        return load_message(self._service.load)

    async def WatchLoad(  # noqa: N802
        self, request: operations_pb2.WatchLoadRequest, context: Context
    ) -> AsyncIterator[operations_pb2.Load]:
        interval_s = _interval_s(request)
        while True:
            yield load_message(self._service.load)
            await asyncio.sleep(interval_s)


def load_message(load: ServiceLoad) -> operations_pb2.Load:
    """A load as the contract says it."""
    return operations_pb2.Load(
        state=load.state,
        running_choices=load.running_choices,
        waiting_choices=load.waiting_choices,
        max_queued_choices=load.max_queued_choices,
        queued_tokens=load.queued_tokens,
        max_queued_tokens=load.max_queued_tokens,
        estimated_wait=None if load.estimated_wait_s is None else _duration(load.estimated_wait_s),
        kv_cache_usage=load.kv_cache_usage,
        tokens_per_second=load.tokens_per_second,
        engine_restarts=load.engine_restarts,
        retained_bytes=load.retained_bytes,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _interval_s(request: operations_pb2.WatchLoadRequest) -> float:
    """Raises `InvalidRequestError`."""
    if not request.HasField("interval"):
        return DEFAULT_INTERVAL_S
    seconds = request.interval.seconds + request.interval.nanos / 1e9
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        description = f"`interval` must be in [{MIN_INTERVAL_S} s, {MAX_INTERVAL_S:.0f} s]; got {seconds} s"
        raise InvalidRequestError([Violation("interval", description)])
    return seconds
