"""What only the Ruby client has: stubs that are committed, tests of its own, and a gem that can be built."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from clients.conftest import Built
from clients.languages.ruby import CLIENT, LANGUAGE, RUBY
from tokenwire.v1 import chat_pb2, errors_pb2, models_pb2, operations_pb2, tokens_pb2

CONTRACT = [module.DESCRIPTOR for module in (chat_pb2, errors_pb2, models_pb2, operations_pb2, tokens_pb2)]


@pytest.fixture(autouse=True)
def _ruby(built: Built) -> None:
    built(LANGUAGE)


def run(*command: str | Path) -> str:
    """What a command prints, which must do well."""
    ended = subprocess.run(command, cwd=CLIENT, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def messages_of(file: FileDescriptor) -> FileDescriptorProto:
    """What a file has for all languages: its options are for some."""
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    proto.ClearField("options")
    return proto


def methods_of(file: FileDescriptor) -> list[list[str]]:
    """Name, input and output of each, as `stubs.rb` prints them."""
    return [
        [
            f"{service.full_name}/{method.name}",
            ("stream " if method.client_streaming else "") + method.input_type.full_name,
            ("stream " if method.server_streaming else "") + method.output_type.full_name,
        ]
        for service in file.services_by_name.values()
        for method in service.methods
    ]


def names_of(file: FileDescriptor) -> list[str]:
    return [*file.message_types_by_name, *file.enum_types_by_name, *file.services_by_name]


def test_the_committed_stubs_are_those_of_the_contract() -> None:
    printed: dict[str, Any] = json.loads(run(*RUBY, "test/stubs.rb"))
    files = [FileDescriptorProto.FromString(base64.b64decode(data)) for data in printed["descriptors"]]
    for file in files:
        file.ClearField("options")
    assert {file.name: file for file in files} == {file.name: messages_of(file) for file in CONTRACT}
    assert sorted(printed["methods"]) == sorted(method for file in CONTRACT for method in methods_of(file))
    assert sorted(printed["names"]) == sorted(name for file in CONTRACT for name in names_of(file))


def test_its_own_tests_pass() -> None:
    assert " 0 failures, 0 errors, 0 skips" in run("rake", "test")


def test_the_gem_can_be_built(tmp_path: Path) -> None:
    gem = tmp_path / "tokenwire.gem"
    run("gem", "build", "--strict", "--output", gem, "tokenwire.gemspec")
    files = run("gem", "specification", gem, "files")
    for file in ("lib/tokenwire.rb", "lib/tokenwire/v1/chat_services_pb.rb", "examples/quickstart.rb", "LICENSE"):
        assert file in files
