"""The file of API keys: what it may say, what is refused, and how a key is found and added."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tokenwire.chat.quota import NO_LIMITS, Quota
from tokenwire.cli.keys import add
from tokenwire.errors import UnauthenticatedError
from tokenwire.security.access import Access
from tokenwire.security.api_keys import KeyRing, new_key, parse_keys
from tokenwire.security.key_file import add_key
from tokenwire.security.watched_files import SecurityFileError


def hash_of(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


class Ring:
    """Keys that do not change."""

    def __init__(self, text: str) -> None:
        self.current: KeyRing = parse_keys(text)


def entry(name: str = "alice", key: str = "tw-a", **fields: object) -> dict[str, object]:
    return {"name": name, "hash": hash_of(key), **fields}


def test_an_entry_says_the_name_and_the_limits_of_a_key() -> None:
    text = f"""
    - name: alice
      hash: {hash_of("tw-a")}
      models: [tiny]
      max_concurrent: 2
      requests_per_minute: 60
      tokens_per_minute: 1000
      expires: 2999-01-31
    """
    (key,) = parse_keys(text).keys
    assert key.name == "alice"
    assert key.quota == Quota(
        models=frozenset({"tiny"}), max_concurrent=2, requests_per_minute=60, tokens_per_minute=1000
    )
    assert key.expires == datetime(2999, 1, 31, tzinfo=UTC)


def test_the_file_may_be_json_and_limits_may_be_absent() -> None:
    (key,) = parse_keys(json.dumps([entry(expires="2999-01-31T12:00:00+00:00")])).keys
    assert key.quota == NO_LIMITS
    assert key.expires == datetime(2999, 1, 31, 12, tzinfo=UTC)


def test_an_empty_file_has_no_keys() -> None:
    assert parse_keys("# nobody yet\n").keys == ()


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"alice": "x"}, "must be a list"),
        (["alice"], "key 1 must have fields"),
        ([entry(colour="red")], "'colour' is no field"),
        ([{"hash": hash_of("tw-a")}], "`name` must be"),
        ([entry(name="a b")], "`name` must be"),
        ([{"name": "alice"}], "alice.*`hash` must be"),
        ([entry(models="tiny")], "`models` must be a list"),
        ([entry(max_concurrent=1.5)], "`max_concurrent` must be a whole number"),
        ([entry(max_concurrent=0)], "`max_concurrent` must be a number above 0"),
        ([entry(requests_per_minute=True)], "`requests_per_minute` must be a number"),
        ([entry(tokens_per_minute="many")], "`tokens_per_minute` must be a number"),
        ([entry(expires="soon")], "`expires` must be a date"),
        ([entry(disabled=1)], "`disabled` must be true or false"),
        ([entry(), entry(key="tw-b")], "key 2: its `name`"),
        ([entry(), entry(name="bob")], "key 2: its `hash`"),
    ],
)
def test_what_cannot_be_used_is_named(entries: object, told: str) -> None:
    with pytest.raises(SecurityFileError, match=told):
        parse_keys(json.dumps(entries))


@pytest.mark.parametrize(
    "text", ["- name: [", "- hash: tw-secret\n  name: alice", "- expires: 2026-02-30", "\x00tw-secret"]
)
def test_errors_never_show_what_may_be_a_key(text: str) -> None:
    with pytest.raises(SecurityFileError) as caught:
        parse_keys(text)
    assert "tw-secret" not in str(caught.value)


def test_a_key_is_found_by_what_it_is_and_by_nothing_else() -> None:
    key = new_key()
    ring = parse_keys(json.dumps([entry("bob", "tw-b"), entry("alice", key), entry("eve", "tw-e")]))
    found = ring.find(key)
    assert found is not None
    assert found.name == "alice"
    assert [ring.find(other) for other in ("", key[:-1], key + "x", hash_of(key), "\ud800")] == [None] * 5


def test_new_keys_are_long_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) >= 43


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic tw-a", "tw-a", "Bearer tw-b", "Bearer tw-a tw-a"])
def test_who_has_no_good_key_is_refused(header: str) -> None:
    with pytest.raises(UnauthenticatedError):
        Access(Ring(json.dumps([entry()]))).caller({"authorization": header}, request_id="r")


@pytest.mark.parametrize("bad", [entry(disabled=True), entry(expires="2020-01-01")])
def test_a_disabled_or_expired_key_is_as_good_as_none(bad: dict[str, object]) -> None:
    with pytest.raises(UnauthenticatedError):
        Access(Ring(json.dumps([bad]))).caller({"authorization": "Bearer tw-a"}, request_id="r")


def test_a_caller_has_the_name_and_limits_of_its_key_and_what_traces_need() -> None:
    headers = {"authorization": "bearer tw-a", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    caller = Access(Ring(json.dumps([entry(max_concurrent=1)]))).caller(headers, request_id="r", deadline_s=5)
    assert (caller.key_id, caller.quota, caller.deadline_s) == ("alice", Quota(max_concurrent=1), 5)
    assert (caller.log_id, caller.traceparent) == ("r", headers["traceparent"])


def test_without_a_file_anybody_may_call() -> None:
    caller = Access().caller({"authorization": "Bearer x", "traceparent": "nonsense"}, request_id="r")
    assert (caller.key_id, caller.quota, caller.traceparent) == ("", NO_LIMITS, "")


def test_an_added_key_is_found_and_comments_stay(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    first = add_key(file, "alice", {})
    file.write_text(f"# ours\n{file.read_text()}")
    second = add_key(file, "bob", {"models": ["tiny"], "requests_per_minute": 0.5})
    ring = parse_keys(file.read_text())
    assert [found.name for key in (first, second) if (found := ring.find(key))] == ["alice", "bob"]
    assert ring.keys[1].quota == Quota(models=frozenset({"tiny"}), requests_per_minute=0.5)
    assert file.read_text().startswith("# ours\n")
    assert first not in file.read_text()


def test_a_new_key_file_is_for_its_owner_and_an_old_one_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    add_key(file, "alice", {})
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    add_key(file, "bob", {})
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["keys.yaml"]


@pytest.mark.parametrize("text", ["[]", "- name: [", f'[{{"name": "a", "hash": "{hash_of("tw-a")}"}}]'])
def test_a_file_that_cannot_take_an_entry_stays_as_it_was(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(SecurityFileError):
        add_key(file, "bob", {})
    assert file.read_text() == text


def test_a_name_is_added_once(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.yaml", "alice", {})
    with pytest.raises(SecurityFileError, match="`name` is that of an earlier key"):
        add_key(tmp_path / "keys.yaml", "alice", {})


def test_the_command_prints_the_key_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.yaml"
    assert add("alice", api_keys=file, model=("tiny",), max_concurrent=3, expires=datetime(2999, 1, 31)) == 0
    printed = capsys.readouterr()
    found = parse_keys(file.read_text()).find(printed.out.strip())
    assert found is not None
    assert (found.quota.max_concurrent, found.expires) == (3, datetime(2999, 1, 31, tzinfo=UTC))
    assert printed.out.strip() not in printed.err
    assert add("alice", api_keys=file) == 1
    assert capsys.readouterr().out == ""
