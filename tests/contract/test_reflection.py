"""Reflection under both names, as grpcurl and GUIs use it."""

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from support.server import TIMEOUT_S
from tokenwire.rpc.health import SERVICES

BOTH_NAMES = pytest.mark.parametrize(
    "name", ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
)


async def ask(channel: grpc.aio.Channel, name: str, request: ServerReflectionRequest) -> ServerReflectionResponse:
    """One question; v1 and v1alpha are the same on the wire."""
    call = channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )

    async def requests() -> AsyncIterator[ServerReflectionRequest]:
        yield request

    (response,) = [response async for response in call(requests(), timeout=TIMEOUT_S)]
    return response


@BOTH_NAMES
async def test_every_service_is_listed(channel: grpc.aio.Channel, name: str) -> None:
    response = await ask(channel, name, ServerReflectionRequest(list_services="*"))
    listed = {service.name for service in response.list_services_response.service}
    assert listed == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@BOTH_NAMES
@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_is_described(channel: grpc.aio.Channel, name: str, service: str) -> None:
    response = await ask(channel, name, ServerReflectionRequest(file_containing_symbol=service))
    files = [FileDescriptorProto.FromString(data) for data in response.file_descriptor_response.file_descriptor_proto]
    described = {f"{file.package}.{described.name}" for file in files for described in file.service}
    assert service in described


@BOTH_NAMES
async def test_unknown_fields_are_not_sent_back(channel: grpc.aio.Channel, name: str) -> None:
    deep = ServerReflectionRequest.FromString(b"\x0b" * 100 + b"\x0c" * 100)
    response = await ask(channel, name, deep)
    assert response.original_request == ServerReflectionRequest()
