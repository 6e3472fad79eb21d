"""The client of today against a server of the first contract: what that has works, the rest fails clearly."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet

from support.first_server import WAIT_S, FirstServer
from tokenwire_client import Client, TokenwireClientError, Transport, UnavailableError


@pytest.fixture
def server() -> Iterator[FirstServer]:
    with FirstServer() as server:
        yield server


@pytest.fixture
def client(server: FirstServer) -> Iterator[Client]:
    with Client(server.target, timeout_s=WAIT_S) as client:
        yield client


def test_a_chat_is_answered(client: Client) -> None:
    completion = client.chat("hi", temperature=0.5)
    assert (completion.choices[0].content, completion.usage.total_tokens) == ("one two", 5)


def test_a_stream_is_read(client: Client) -> None:
    updates = list(client.stream("hi"))
    assert "".join(update.text for update in updates) == "one two"
    assert updates[-1].completion.usage.total_tokens == 5


def test_models_and_tokens_are_told(client: Client) -> None:
    assert [model.id for model in client.models()] == ["old"]
    assert client.model().context_length == 2048
    assert client.count_tokens("hi").prompt_tokens == 3
    assert client.render_prompt("hi").prompt == "hi"
    assert list(client.tokenize("hi").token_ids) == [1, 2]
    assert client.detokenize([1, 2]).text == "hi"


def test_an_old_server_promises_nothing_that_is_new(client: Client) -> None:
    """So a caller can tell whether it knows tools before it relies on them: what it does not know it does not see."""
    model = client.model()
    assert (model.limits.max_tools, model.limits.max_schema_bytes, model.tool_syntax) == (0, 0, "")
    first = next(updates := client.stream("hi"))
    assert not first.event.started.resumable
    updates.close()


def test_an_old_server_carries_new_fields_along_unread(server: FirstServer, client: Client) -> None:
    client.chat("hi", user="ann")
    assert len(UnknownFieldSet(server.requests[-1])) == 2  # `user`, and `request_id`, which the client gives


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.completion("chatcmpl-1"),
        lambda client: client.cancel("chatcmpl-1"),
        lambda client: list(client.resume("chatcmpl-1")),
        lambda client: client.load(),
        lambda client: next(client.watch_load()),
    ],
    ids=["completion", "cancel", "resume", "load", "watch_load"],
)
def test_a_call_that_an_old_server_does_not_know_is_unimplemented(
    client: Client, call: Callable[[Client], object]
) -> None:
    with pytest.raises(TokenwireClientError) as caught:
        call(client)
    assert caught.value.code == grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_that_an_old_server_cannot_resume_is_not_resumed() -> None:
    with FirstServer(cuts_after=2) as server, Client(server.target, transport=Transport(retries=False)) as client:
        stream = client.stream("hi", resume=True, timeout_s=WAIT_S)
        assert next(stream).event.HasField("started")
        assert next(stream).text == "one "
        with pytest.raises(UnavailableError, match="connection lost"):
            next(stream)
    assert len(server.requests) == 2  # ListModels and one chat call


def test_leaving_a_stream_of_an_old_server_cancels_the_call() -> None:
    with FirstServer(stops_after=2) as server, Client(server.target, timeout_s=WAIT_S) as client:
        stream = client.stream("hi", resume=True)
        assert "one " in (update.text for update in stream)
        stream.close()
        assert server.cancelled.wait(WAIT_S)
