"""Metadata and user: the limits of the contract."""

import pytest

from tokenwire.chat.validation.labels import check_metadata, check_user


def test_labels_within_the_limits_pass() -> None:
    assert not list(check_metadata({f"{i:064d}": "v" * 512 for i in range(16)}))
    assert not list(check_user("u" * 256))
    assert not list(check_user(""))


@pytest.mark.parametrize(
    ("metadata", "field", "words"),
    [
        ({str(i): "" for i in range(17)}, "metadata", "at most 16 tags; got 17"),
        ({"k" * 65: ""}, "metadata", "at most 64 characters; got 65"),
        ({"": ""}, "metadata", "at least 1 character; got ''"),
        ({"team": "v" * 513}, "metadata[team]", "at most 512 characters; got 513"),
    ],
)
def test_metadata_beyond_a_limit_is_told(metadata: dict[str, str], field: str, words: str) -> None:
    (violation,) = check_metadata(metadata)
    assert violation.field == field
    assert words in violation.description


def test_a_user_beyond_the_limit_is_told() -> None:
    (violation,) = check_user("u" * 257)
    assert violation.field == "user"
    assert "at most 256 characters; got 257" in violation.description
