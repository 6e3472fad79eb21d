"""The contract as it was first served, with messages and calls that are made from its descriptors.

`tests/contract/first_contract.binpb` never changes: it stands for every client and server of that time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

FIRST_CONTRACT = Path(__file__).parents[1] / "contract/first_contract.binpb"
PACKAGE = "tokenwire.v1"
CHAT, MODELS, TOKENS = "ChatService", "ModelService", "TokenService"


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(FIRST_CONTRACT.read_bytes()).file:
        pool.Add(file)
    return pool


_POOL = _pool()


def message_class(name: str) -> type[Message]:
    """Of a message that the first contract has. Raises `KeyError` for another."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def message(name: str, **fields: Any) -> Any:
    """One with these fields, given as in JSON."""
    return ParseDict(fields, message_class(name)(), descriptor_pool=_POOL)


def methods(service: str) -> Iterator[MethodDescriptor]:
    """Of a service."""
    described: ServiceDescriptor = _POOL.FindServiceByName(f"{PACKAGE}.{service}")
    yield from described.methods


def stub(channel: grpc.aio.Channel, service: str, method: str) -> Any:
    """What calls a method, as a generated stub has it."""
    (described,) = [one for one in methods(service) if one.name == method]
    kind = channel.unary_stream if described.server_streaming else channel.unary_unary
    return kind(
        f"/{PACKAGE}.{service}/{method}",
        request_serializer=GetMessageClass(described.input_type).SerializeToString,
        response_deserializer=GetMessageClass(described.output_type).FromString,
    )
