"""The tables of the README say what the contract and the error table say."""

import re
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor

from tokenwire.error_table import ERROR_TABLE
from tokenwire.v1 import chat_pb2, models_pb2, operations_pb2, tokens_pb2
from tokenwire.v1.errors_pb2 import ErrorReason

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def table(first_column: str) -> list[list[str]]:
    """The cells of the table whose first heading this is, without back quotes."""
    found = re.search(rf"^\| {first_column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert found, f"the README has no table that begins with {first_column!r}"
    return [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in found[1].splitlines()]


def test_rpc_table_is_the_contract() -> None:
    files: list[FileDescriptor] = [
        chat_pb2.DESCRIPTOR,
        models_pb2.DESCRIPTOR,
        tokens_pb2.DESCRIPTOR,
        operations_pb2.DESCRIPTOR,
    ]
    declared = [
        [f"{service.name}/{method.name}", "server stream" if method.server_streaming else "unary"]
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    assert [row[:2] for row in table("RPC")] == declared


def test_error_table_is_the_one_in_the_code() -> None:
    told = [
        [
            ErrorReason.Name(reason).removeprefix("ERROR_REASON_"),
            kind.grpc_code.name,
            str(kind.http_status),
        ]
        for reason, kind in ERROR_TABLE.items()
    ]
    assert [row[:3] for row in table("reason")] == told


def test_parameter_table_has_every_field_of_the_request() -> None:
    fields = {field.name for field in chat_pb2.ChatCompletionRequest.DESCRIPTOR.fields}
    assert {row[0] for row in table("parameter")} == fields


def test_links_to_files_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^):]+)\)", README)
    missing = [target for target in targets if not (Path(__file__).parents[2] / target).exists()]
    assert not missing
