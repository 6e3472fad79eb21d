"""What only the C++ client has: a package that other programs find, and what its objects promise of their lives."""

import subprocess
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from clients.conftest import Built
from clients.languages import run
from clients.languages.cpp import BUILD, CLIENT, LANGUAGE
from support.scripted_server import Failure, ScriptedServer, answer
from tokenwire.v1.chat_pb2 import ON_DISCONNECT_DETACH, ON_DISCONNECT_UNSPECIFIED

CONSUMER = BUILD / "consumer"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def consumer(built: Built) -> Path:
    """A program that is built with the installed package only."""
    built(LANGUAGE)
    prefix = CONSUMER / "prefix"
    run("cmake", "--install", BUILD, "--prefix", prefix, cwd=CLIENT)
    source = CLIENT / "tests/consumer"
    run("cmake", "-S", source, "-B", CONSUMER, f"-DCMAKE_PREFIX_PATH={prefix}", cwd=CLIENT)
    run("cmake", "--build", CONSUMER, cwd=CLIENT)
    return CONSUMER / "consumer"


def printed(consumer: Path, part: str, server: ScriptedServer) -> str:
    ended = subprocess.run([consumer, part, server.target], capture_output=True, check=True, text=True, timeout=60)
    return ended.stdout


def test_a_raw_stub_has_the_key_of_the_client(consumer: Path) -> None:
    with ScriptedServer(answer("Hello")) as server:
        assert printed(consumer, "stub", server) == "Hello"
        assert server.metadata[0]["authorization"] == "Bearer tw-secret"


def test_an_error_of_a_raw_stub_is_one_of_the_client(consumer: Path) -> None:
    failure = Failure(grpc.StatusCode.NOT_FOUND, details=[ErrorInfo(reason="MODEL_NOT_FOUND")])
    with ScriptedServer([failure]) as server:
        assert printed(consumer, "stub", server) == "error 5 MODEL_NOT_FOUND"


def test_a_stream_outlives_its_client_and_is_read_on_where_it_was_left(consumer: Path) -> None:
    with ScriptedServer(answer("Hello", " wide", " world")) as server:
        assert printed(consumer, "read_on", server) == "Hello| wide world|Hello wide world|1"


def test_a_call_with_a_used_cancellation_is_cancelled(consumer: Path) -> None:
    with ScriptedServer(answer("Hello")) as server:
        assert printed(consumer, "cancel_before", server) == "error 1 "


def test_a_stream_that_is_cancelled_before_it_is_read_asks_nothing(consumer: Path) -> None:
    with ScriptedServer(answer("Hello")) as server:
        assert printed(consumer, "cancel_unread", server) == "error 1 "
        assert not server.requests
        assert not server.cancels


def test_streams_resume_as_their_client_does_unless_they_say_otherwise(consumer: Path) -> None:
    with ScriptedServer(answer("Hello")) as server:
        assert printed(consumer, "resume_by_default", server) == "HelloHello"
        policies = [request.execution_policy.on_disconnect for request in server.requests]
        assert policies == [ON_DISCONNECT_DETACH, ON_DISCONNECT_UNSPECIFIED]


def test_a_certificate_without_its_key_is_told(consumer: Path) -> None:
    with ScriptedServer(answer("Hello")) as server:
        assert "belong together" in printed(consumer, "half_certificate", server)
