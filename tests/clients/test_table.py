"""The conformance table itself: what it has to have, and how it complains."""

from pathlib import Path

import pytest

from clients.conformance.case import TableError, load_cases
from tokenwire.v1.errors_pb2 import ErrorReason


def test_every_reason_of_an_error_has_a_case() -> None:
    reasons = [case.expect.error.reason for case in load_cases() if case.expect.error is not None]
    known = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()]  # noqa: SIM118 (no mapping)
    assert {name for name in known if name not in reasons} == {"UNSPECIFIED"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- {name: a, call: {create: {}}, expcet: {}}", "case 0 ('a'): unknown keys ['expcet']"),
        ("- {name: a, call: {create: {}}, expect: {txets: []}}", "expect: unknown keys ['txets']"),
        ("- {name: a, call: {create: {}, stream: {}}}", "one of create, stream"),
        ("- {name: a, call: {create: {}}, twist: {raises: {times: 2}}}", "missing 1 required keyword-only argument"),
        ("- {name: a, call: {create: {}}, engine: [{txt: a}]}", "engine: unknown keys ['txt']"),
        ("- {name: a, call: {stream: {}}, twist: {edits: [{drop: dleta}]}}", "is to be edited, not ['dleta']"),
        ("- {name: a, call: {create: {}}, seen: 3}", "seen: must be a mapping"),
        ("- {name: a, call: {get: {}}}\n- {name: a, call: {get: {}}}", "names that are there twice: ['a']"),
    ],
)
def test_a_mistake_in_the_table_is_told_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(TableError) as caught:
        load_cases(tmp_path)
    assert complaint in str(caught.value)
