"""Stored completions: bounded in number, bytes and time."""

import pytest

from tokenwire.chat.store import CompletionStore
from tokenwire.errors import CompletionNotFoundError
from tokenwire.v1.chat_pb2 import ChatCompletion, Choice


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def completion(name: str, content: str = "") -> ChatCompletion:
    return ChatCompletion(id=name, choices=[Choice(content=content)])


def add(store: CompletionStore, name: str, content: str = "") -> None:
    store.add(completion(name, content), metadata={"team": "red"}, user="alice")


def test_a_stored_completion_comes_back_with_its_labels_and_its_end() -> None:
    store = CompletionStore(max_count=2, max_age_s=60, clock=Clock())
    add(store, "a", "hello")
    stored = store.get("a")
    assert stored.completion == completion("a", "hello")
    assert dict(stored.metadata) == {"team": "red"}
    assert stored.user == "alice"
    assert stored.expire_time.ToSeconds() == 1_000_060


def test_the_oldest_gives_way_when_there_are_too_many() -> None:
    store = CompletionStore(max_count=2, max_age_s=60)
    for name in "abc":
        add(store, name)
    with pytest.raises(CompletionNotFoundError, match="'a'"):
        store.get("a")
    assert [store.get(name).completion.id for name in "bc"] == ["b", "c"]


def test_a_completion_is_gone_when_its_time_is_over() -> None:
    clock = Clock()
    store = CompletionStore(max_count=2, max_age_s=60, clock=clock)
    add(store, "a")
    clock.now_s += 59
    assert store.get("a").completion.id == "a"
    clock.now_s += 1
    with pytest.raises(CompletionNotFoundError):
        store.get("a")


def test_the_bytes_of_all_are_bounded() -> None:
    store = CompletionStore(max_count=100, max_age_s=60, max_bytes=1000)
    for name in "abc":
        add(store, name, "x" * 400)
    assert store.get("c").completion.id == "c"
    with pytest.raises(CompletionNotFoundError):
        store.get("a")


def test_a_completion_larger_than_the_store_is_not_kept_and_evicts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    store = CompletionStore(max_count=100, max_age_s=60, max_bytes=1000)
    add(store, "a")
    add(store, "huge", "x" * 2000)
    assert store.get("a").completion.id == "a"
    assert "huge is not stored" in caplog.text
    with pytest.raises(CompletionNotFoundError):
        store.get("huge")
