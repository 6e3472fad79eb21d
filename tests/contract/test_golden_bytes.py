"""The bytes of every message, as they were when it came into the contract: clients of any age send and read them."""

import pytest
from google.protobuf import message_factory

from support.golden import Golden, descriptors, fields_set, read

GOLDEN = read()
ADD = "PYTHONPATH=tests .venv/bin/python -m support.golden adds fixtures of what is new"

each = pytest.mark.parametrize("golden", [pytest.param(golden, id=golden.name) for golden in GOLDEN])


@each
def test_a_message_has_the_bytes_that_it_always_had(golden: Golden) -> None:
    assert golden.message().SerializeToString(deterministic=True) == golden.wire


@each
def test_bytes_are_read_as_they_always_were(golden: Golden) -> None:
    assert message_factory.GetMessageClass(golden.descriptor).FromString(golden.wire) == golden.message()


def test_every_message_has_a_fixture() -> None:
    assert {golden.descriptor for golden in GOLDEN} == set(descriptors()), ADD


def test_every_field_has_a_fixture() -> None:
    held = {field for golden in GOLDEN for field in fields_set(golden.message())}
    assert [
        field.full_name for descriptor in descriptors() for field in descriptor.fields if field not in held
    ] == [], ADD


def test_all_messages_are_at_the_top_of_their_files() -> None:
    nested = [inner for descriptor in descriptors() for inner in descriptor.nested_types]
    assert all(inner.GetOptions().map_entry for inner in nested)
