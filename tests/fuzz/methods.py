"""The RPCs of the server, each with its messages."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tokenwire.v1 import chat_pb2, models_pb2, operations_pb2, tokens_pb2

OWN = "/tokenwire."
_ENDLESS = ("Watch", "WatchLoad")


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    path: str
    request: type[Message]
    answer: type[Message]
    takes_stream: bool = False
    gives_stream: bool = False

    @property
    def is_endless(self) -> bool:
        """Whether its stream goes on until the caller leaves."""
        return self.path.rsplit("/", 1)[1] in _ENDLESS

    @property
    def is_own(self) -> bool:
        """Whether it is of `tokenwire.v1`: only those have our reasons in their errors."""
        return self.path.startswith(OWN)


def _message(descriptor: Descriptor) -> type[Message]:
    return GetMessageClass(descriptor)


def _methods_of(file: FileDescriptor, *, package: str | None = None) -> Iterator[Method]:
    for service in file.services_by_name.values():
        name = service.full_name if package is None else f"{package}.{service.name}"
        for method in service.methods:
            yield Method(
                f"/{name}/{method.name}",
                _message(method.input_type),
                _message(method.output_type),
                takes_stream=method.client_streaming,
                gives_stream=method.server_streaming,
            )


METHODS: tuple[Method, ...] = tuple(
    method
    for methods in (
        *(_methods_of(module.DESCRIPTOR) for module in (chat_pb2, models_pb2, tokens_pb2, operations_pb2)),
        _methods_of(health_pb2.DESCRIPTOR),
        _methods_of(reflection_pb2.DESCRIPTOR),
        _methods_of(reflection_pb2.DESCRIPTOR, package="grpc.reflection.v1"),
    )
    for method in methods
)
