"""The contract as others get it: a module for the Buf Schema Registry, and a file of descriptors."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from tokenwire.rpc.health import SERVICES

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto"
BUF = Path(sys.executable).with_name("buf")


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True, timeout=120)


@pytest.fixture(scope="module")
def descriptors() -> FileDescriptorSet:
    """What `make descriptors` writes."""
    run("make", "descriptors")
    return FileDescriptorSet.FromString((ROOT / "dist/tokenwire.binpb").read_bytes())


def test_the_module_holds_the_contract_and_what_a_page_of_it_shows(tmp_path: Path) -> None:
    run(BUF, "export", "--all", PROTO, "--output", tmp_path)
    held = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert held == {"README.md", "LICENSE", *(f"tokenwire/v1/{path.name}" for path in PROTO.rglob("*.proto"))}


def test_the_module_has_the_license_of_the_repository() -> None:
    assert (PROTO / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_readme_of_the_module_names_every_file() -> None:
    readme = (PROTO / "README.md").read_text()
    assert [path.name for path in PROTO.rglob("*.proto") if f"| `{path.name}` |" not in readme] == []


def test_the_descriptors_are_whole_by_themselves(descriptors: FileDescriptorSet) -> None:
    pool = DescriptorPool()
    for file in descriptors.file:  # in the order of their imports, which are all there
        pool.Add(file)
    for service in SERVICES:
        assert pool.FindServiceByName(service).methods


def test_the_descriptors_have_the_comments(descriptors: FileDescriptorSet) -> None:
    (chat,) = [file for file in descriptors.file if file.name == "tokenwire/v1/chat.proto"]
    comments = {location.leading_comments.strip() for location in chat.source_code_info.location}
    assert "Sampling temperature in [0, 2]; default 1. 0 is greedy: always the most likely token." in comments
