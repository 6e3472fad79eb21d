"""`tokenwire serve` as a process: its start, its signals, its options, and the client commands against it."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from support.serve_process import TOKENWIRE, ServeProcess
from support.tiny import make_model
from tokenwire_client import Client, StreamUpdate, Transport, UnavailableError

CALL_TIMEOUT_S = 120
ANY_PORT = ("--device", "cpu", "--threads", "1", "--port", "0", "--http-port", "0")
LONG_ANSWER = 2000


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with room for long answers."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny", max_position_embeddings=4096)


@pytest.fixture
def served(tiny_model: Path, tmp_path: Path) -> Iterator[ServeProcess]:
    """The tiny model, ready."""
    with ServeProcess("--model", tiny_model, *ANY_PORT, log=tmp_path / "log") as process:
        yield process.wait_until_ready()


def connect(server: ServeProcess) -> Client:
    return Client(server.target, timeout_s=CALL_TIMEOUT_S, transport=Transport(retries=False))


def begun(stream: Iterator[StreamUpdate]) -> Iterator[StreamUpdate]:
    """The stream once its first text is here."""
    for update in stream:
        if update.text:
            return stream
    raise AssertionError("the stream ended without text")


def wait_until_draining(server: ServeProcess) -> None:
    with grpc.insecure_channel(server.target) as channel:
        for answer in HealthStub(channel).Watch(HealthCheckRequest(), timeout=CALL_TIMEOUT_S):
            if answer.status == HealthCheckResponse.NOT_SERVING:
                return
    raise AssertionError("the watch of the health ended")


def run(*words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """A command of `tokenwire` with this text on its standard input."""
    command = [*TOKENWIRE, *map(str, words)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)


def test_the_banner_tells_what_is_served_and_where(served: ServeProcess) -> None:
    for words in ("serves tiny", "LlamaForCausalLM, float32 on cpu", "4,096 tokens", "KV cache"):
        assert words in served.banner
    with connect(served) as client:
        assert client.model().id == "tiny"
    assert httpx.get(f"{served.url}/models", timeout=CALL_TIMEOUT_S).json()["data"][0]["id"] == "tiny"


def test_at_sigterm_open_streams_finish_and_new_requests_are_refused(served: ServeProcess) -> None:
    with connect(served) as client:
        streams = [
            begun(client.stream("hi", seed=seed, ignore_eos=True, max_completion_tokens=LONG_ANSWER))
            for seed in range(3)
        ]
        served.signal(signal.SIGTERM)
        wait_until_draining(served)
        with pytest.raises(UnavailableError) as caught:
            client.chat("hi")
        assert caught.value.reason == "DRAINING"
        for stream in streams:
            *_, last = stream
            assert last.completion.usage.completion_tokens == LONG_ANSWER
    assert served.wait() == 0


def test_after_the_grace_time_streams_are_cut(tiny_model: Path, tmp_path: Path) -> None:
    arguments = ("--model", tiny_model, *ANY_PORT, "--drain-grace-s", "0")
    with ServeProcess(*arguments, log=tmp_path / "log") as process, connect(process.wait_until_ready()) as client:
        stream = begun(client.stream("hi", ignore_eos=True, max_completion_tokens=LONG_ANSWER))
        process.signal(signal.SIGTERM)
        with pytest.raises(UnavailableError):
            list(stream)
        assert process.wait() == 0


def test_a_second_signal_ends_the_process_at_once(served: ServeProcess) -> None:
    with connect(served) as client:
        stream = begun(client.stream("hi", ignore_eos=True, max_completion_tokens=LONG_ANSWER))
        served.signal(signal.SIGTERM)
        wait_until_draining(served)
        served.signal(signal.SIGTERM)
        assert served.wait() == 128 + signal.SIGTERM
        with pytest.raises(UnavailableError):
            list(stream)


def test_a_stream_outlives_its_engine(served: ServeProcess) -> None:
    with connect(served) as client:
        stream = begun(client.stream("hi", ignore_eos=True, max_completion_tokens=LONG_ANSWER))
        children = psutil.Process(served.pid).children()
        (engine,) = [child for child in children if "tokenwire.engine.process" in child.cmdline()]
        engine.kill()
        *_, last = stream
        assert last.completion.usage.completion_tokens == LONG_ANSWER
        assert client.chat("hi", ignore_eos=True, max_completion_tokens=5).usage.completion_tokens == 5
    assert "was killed by signal 9" in served.log.read_text()


def test_while_it_loads_it_lives_refuses_requests_and_ends_at_sigterm(tiny_model: Path, tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--model", tiny_model, "--device", "cpu", "--port", str(port))
    with ServeProcess(*arguments, log=tmp_path / "log") as process:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            check = HealthStub(channel).Check
            live = check(HealthCheckRequest(service="live"), wait_for_ready=True, timeout=CALL_TIMEOUT_S)
            ready = check(HealthCheckRequest(), timeout=CALL_TIMEOUT_S)
            assert (live.status, ready.status) == (HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert "Traceback" not in process.log.read_text()


def test_a_taken_port_is_told(tiny_model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flags in (["--port", port], ["--port", "0", "--http-port", port]):
            done = run("serve", "--model", tiny_model, *flags)
            assert done.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
            assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = run("serve", "--model", tmp_path / "nowhere", "--port", "0")
    assert done.returncode == 1
    assert f"there is no file or folder '{tmp_path / 'nowhere'}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_come_from_the_environment_and_a_file(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text(f"model: {tiny_model}\nserved_model_name: from-file\nmax_context: 300\nkv_memory: 1MiB\n")
    environment = {"TOKENWIRE_SERVED_MODEL_NAME": "from-environment", "TOKENWIRE_PORT": "0", "TOKENWIRE_HTTP_PORT": "0"}
    arguments = ("--config", file, "--device", "cpu", "--max-context", "200")
    with ServeProcess(*arguments, log=tmp_path / "log", environment=environment) as process:
        with connect(process.wait_until_ready()) as client:
            model = client.model()
        assert (model.id, model.context_length) == ("from-environment", 200)


def test_the_client_commands_answer_through_pipes(served: ServeProcess) -> None:
    flags = ("--target", served.target, "--seed", "4", "--max-completion-tokens", "12")
    generated = run("generate", *flags, text="Once upon a time")
    again = run("generate", "Once upon a time", *flags)
    chatted = run("chat", *flags, text="Once upon a time\n/show\n")
    assert [done.returncode for done in (generated, again, chatted)] == [0, 0, 0]
    assert generated.stdout == again.stdout != "\n"
    assert chatted.stdout.startswith(generated.stdout.removesuffix("\n"))
    assert "messages: 2" in chatted.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
