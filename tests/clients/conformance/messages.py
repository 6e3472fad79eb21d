"""The messages of `driver.proto`, compiled when they are imported, and the frames that carry them."""

import struct
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from clients.languages import DRIVER_PROTO, PROTO
from tokenwire.v1 import models_pb2  # noqa: F401 (what driver.proto imports is to be in the pool)

LENGTH = struct.Struct(">I")
"""The length that stands before each message."""


def _compiled() -> FileDescriptorSet:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "driver.binpb")
        paths = [f"-I{each}" for each in (PROTO, DRIVER_PROTO, resources.files("grpc_tools") / "_proto")]
        status = protoc.main(["protoc", *paths, f"--descriptor_set_out={out}", "tokenwire/conformance/driver.proto"])
        assert status == 0, "driver.proto does not compile"
        return FileDescriptorSet.FromString(out.read_bytes())


_POOL = descriptor_pool.Default()
for _file in _compiled().file:
    _POOL.Add(_file)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tokenwire.conformance.{name}"))


Command = _message("Command")
Connection = _message("Connection")
Result = _message("Result")
Error = _message("Error")
