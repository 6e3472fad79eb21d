"""How many values a JSON text has, told before it is parsed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenwire.chat.validation.limits import MAX_FIELDS
from tokenwire.errors import MalformedMessageError
from tokenwire.rest.json_size import check_num_values

VALUES = st.recursive(
    st.none() | st.text(st.sampled_from('a,[{"\\')) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('b,"\\')), inner, max_size=4),
    max_leaves=30,
)


def num_marks(value: Any) -> int:
    """Opening brackets, and commas between values."""
    if not isinstance(value, list | dict):
        return 0
    inner = value if isinstance(value, list) else value.values()
    return 1 + max(len(value) - 1, 0) + sum(map(num_marks, inner))


@settings(max_examples=12, deadline=None)
@given(value=VALUES, indent=st.sampled_from([None, 1]))
def test_a_text_passes_just_where_it_has_no_more_than_the_limit(value: Any, indent: int | None) -> None:
    left = MAX_FIELDS - num_marks(value) - 3
    for num_zeros, passes in ((left, True), (left + 1, False)):
        text = json.dumps([value, [0] * num_zeros, '[,"'], indent=indent).encode()
        if passes:
            check_num_values(text)
        else:
            with pytest.raises(MalformedMessageError, match=str(MAX_FIELDS)):
                check_num_values(text)


@pytest.mark.parametrize(
    "text", [b'"' + b"," * 200_000, b'"\\', b"," * 50_000 + b'"' + b"," * 200_000 + b"\\", b" " * 200_000 + b'"']
)
def test_what_is_no_json_comes_to_an_end(text: bytes) -> None:
    check_num_values(text)


@pytest.mark.parametrize("string", [b"," * 300_000, b'\\"' * 300_000, "é,".encode() * 100_000, b"\\\\" * 100_001])
def test_long_strings_count_as_nothing(string: bytes) -> None:
    check_num_values(b'["' + string + b'",' + b"0," * (MAX_FIELDS - 3) + b"0]")
    with pytest.raises(MalformedMessageError):
        check_num_values(b'["' + string + b'",' + b"0," * (MAX_FIELDS + 3) + b"0]")
