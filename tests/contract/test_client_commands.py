"""`tokenwire chat` and `generate` against a scripted server."""

import io
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo

from support.scripted_server import WAIT_S, Cut, Failure, ScriptedServer, UntilCancelled, answer, thought
from tokenwire.cli.app import app
from tokenwire.cli.conversation import Conversation
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    ChatCompletionRequest,
    ExecutionPolicy,
    Finished,
    FinishReason,
    OnDisconnect,
    ResponseFormat,
    Role,
)
from tokenwire_client import Client, choice, json_schema, regex

TOKENWIRE = [sys.executable, "-c", "from tokenwire.cli.app import main; main()"]


def talk(server: ScriptedServer, *lines: str | type[BaseException], output: io.StringIO | None = None) -> str:
    """What is printed when these lines are typed. An exception stands for the key that raises it."""
    typed: Iterator[str | type[BaseException]] = iter(lines)

    def read_line() -> str:
        line = next(typed, EOFError)
        if isinstance(line, str):
            return line
        raise line

    output = output or io.StringIO()
    with Client(server.target, timeout_s=WAIT_S) as client:
        Conversation(
            client,
            target=server.target,
            request=ChatCompletionRequest(),
            system="",
            read_line=read_line,
            output=output,
        ).run()
    return output.getvalue()


def roles(request: ChatCompletionRequest) -> list[str]:
    return [f"{Role.Name(message.role)}: {message.content}" for message in request.messages]


def test_an_answer_is_shown_and_remembered() -> None:
    with ScriptedServer(answer("one ", "two"), answer("three")) as server:
        assert talk(server, "first", "", "second") == "one two\nthree\n"
    assert roles(server.requests[1]) == ["ROLE_USER: first", "ROLE_ASSISTANT: one two", "ROLE_USER: second"]


def test_instructions_and_parameters_reach_the_server() -> None:
    with ScriptedServer(answer("one")) as server:
        talk(server, "/system be brief", "/set temperature 0.2", "/set stop END", "hi", "/system", "hi")
    assert roles(server.requests[0]) == ["ROLE_SYSTEM: be brief", "ROLE_USER: hi"]
    assert (server.requests[0].temperature, list(server.requests[0].stop)) == (0.2, ["END"])
    assert roles(server.requests[1])[0] == "ROLE_USER: hi"


class Terminal(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_reasoning_is_dimmed_above_the_answer_and_not_remembered() -> None:
    with ScriptedServer(answer(thought("let me"), thought(" see"), "one ", "two")) as server:
        shown = talk(server, "first", "second", output=Terminal())
    assert shown == "\x1b[2mlet me\x1b[0m\x1b[2m see\x1b[0m\none two\n" * 2
    assert roles(server.requests[1])[1] == "ROLE_ASSISTANT: one two"
    assert not server.requests[1].messages[1].HasField("reasoning")


def test_reasoning_stays_out_of_what_is_no_terminal() -> None:
    with ScriptedServer(answer(thought("let me see"), "one")) as server:
        assert talk(server, "hi") == "one\n"


def test_reset_forgets_the_conversation_only() -> None:
    with ScriptedServer(answer("one")) as server:
        talk(server, "/set top_k 5", "hi", "/reset", "again")
    assert roles(server.requests[1]) == ["ROLE_USER: again"]
    assert server.requests[1].top_k == 5


def test_show_tells_the_state() -> None:
    with ScriptedServer(answer("one")) as server:
        shown = talk(server, "/system be brief", "/set seed 7", "hi", "/show")
    assert shown == "one\nsystem: be brief\nseed: 7\nmessages: 2\n"


def test_mistakes_are_told_and_send_nothing() -> None:
    with ScriptedServer(answer("one")) as server:
        shown = talk(server, "/st 1", "/set temperature hot", "/help")
    assert "there is no command /st" in shown
    assert "`temperature` must be a number; got hot" in shown
    assert "/reset" in shown
    assert server.requests == []


def test_an_answer_cut_at_the_limit_says_so() -> None:
    script = answer("one")
    cut = ChatCompletionEvent(sequence=2, finished=Finished(finish_reason=FinishReason.FINISH_REASON_LENGTH))
    with ScriptedServer([*script[:2], cut, script[-1]]) as server:
        assert talk(server, "hi") == "one\n[cut at the limit of tokens]\n"


def test_two_slashes_send_a_line_that_begins_with_one() -> None:
    with ScriptedServer(answer("one")) as server:
        talk(server, "//etc is what?")
    assert roles(server.requests[0]) == ["ROLE_USER: /etc is what?"]


def test_a_failed_question_is_told_and_forgotten() -> None:
    bad = Failure(grpc.StatusCode.INTERNAL, "the engine died", [ErrorInfo(reason="ENGINE_FAULT")])
    with ScriptedServer([bad], answer("one")) as server:
        assert talk(server, "first", "second") == "error: the engine died\none\n"
    assert roles(server.requests[1]) == ["ROLE_USER: second"]


def test_ctrl_c_at_the_prompt_and_quit() -> None:
    with ScriptedServer(answer("one")) as server:
        assert talk(server, KeyboardInterrupt, "/quit", "never read") == "\n/quit or ^D leaves\n"
    assert server.requests == []


class InterruptedOutput(io.StringIO):
    """^C is pressed when a text is seen."""

    def write(self, text: str) -> int:
        written = super().write(text)
        if text == "half":
            raise KeyboardInterrupt
        return written


def test_ctrl_c_stops_the_answer_and_keeps_what_came() -> None:
    with ScriptedServer([*answer("half")[:2], UntilCancelled()], answer("whole")) as server:
        assert talk(server, "first", "second", output=InterruptedOutput()) == "half\n[stopped]\nwhole\n"
        assert server.cancelled.wait(WAIT_S)
    assert roles(server.requests[1]) == ["ROLE_USER: first", "ROLE_ASSISTANT: half", "ROLE_USER: second"]


def interruptible(command: Sequence[str], *, stdin: int | None = None) -> "subprocess.Popen[bytes]":
    """A process that an interrupt reaches, also where these tests run in the background of a shell."""
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, preexec_fn=default)


def read_until(process: "subprocess.Popen[bytes]", text: str) -> str:
    """Standard output up to and with the text."""
    assert process.stdout is not None
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while text.encode() not in seen:
            assert selector.select(WAIT_S), f"no {text!r} within {WAIT_S} s after {seen!r}"
            chunk = os.read(process.stdout.fileno(), 4096)
            assert chunk, f"output ended before {text!r}: {seen!r}"
            seen += chunk
    return seen.decode()


def test_a_real_interrupt_stops_the_answer_and_not_the_program() -> None:
    with ScriptedServer([*answer("half")[:2], UntilCancelled()]) as server:
        command = [*TOKENWIRE, "chat", "--target", server.target]
        with interruptible(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b"hi\n")
            process.stdin.flush()
            read_until(process, "half")
            process.send_signal(signal.SIGINT)
            read_until(process, "[stopped]")
            assert server.cancelled.wait(WAIT_S)
            rest, _ = process.communicate(b"/show\n", timeout=WAIT_S)
    assert b"messages: 2" in rest
    assert process.returncode == 0


def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    command = [*TOKENWIRE, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_chat_says_that_no_server_answers() -> None:
    with ScriptedServer(answer("one")) as server:
        target = server.target
    result = run("chat", "--target", target)
    assert result.returncode == 1
    assert result.stderr.startswith(f"no server answers at {target}")


def test_chat_says_that_the_model_is_loading() -> None:
    with ScriptedServer(answer("one"), models=()) as server:
        result = run("chat", "--target", server.target)
    assert result.returncode == 1
    assert "is still loading its model" in result.stderr


def test_generate_takes_the_prompt_from_its_argument_or_from_standard_input() -> None:
    with ScriptedServer(answer("one ", "two")) as server:
        from_argument = run("generate", "hi", "--system", "be brief", "--temperature", "0", "--target", server.target)
        from_stdin = run("generate", "--target", server.target, stdin="piped")
    assert (from_argument.stdout, from_stdin.stdout) == ("one two\n", "one two\n")
    assert roles(server.requests[0]) == ["ROLE_SYSTEM: be brief", "ROLE_USER: hi"]
    assert server.requests[0].HasField("temperature")
    assert roles(server.requests[1]) == ["ROLE_USER: piped"]


def test_generate_prints_the_whole_completion_as_json() -> None:
    with ScriptedServer(answer("one ", "two")) as server:
        completion = json.loads(run("generate", "hi", "--json", "--target", server.target).stdout)
    assert completion["choices"][0]["content"] == "one two"
    assert completion["usage"]["total_tokens"] == 5


SCHEMA = '{"type": "object", "properties": {"age": {"type": "integer"}}}'


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--json-schema", SCHEMA], json_schema(SCHEMA)),
        (["--regex", "[0-9]+"], regex("[0-9]+")),
        (["--choice", "yes", "--choice", "no"], choice("yes", "no")),
    ],
)
def test_generate_asks_for_a_form_of_the_answer(
    flags: list[str], expected: ResponseFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedServer(answer("one")) as server:
        assert call("generate", "hi", *flags, "--target", server.target) == 0
    assert server.requests[0].response_format == expected
    assert capsys.readouterr().out == "one\n"


def test_generate_reads_a_schema_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(SCHEMA, encoding="utf-8")
    with ScriptedServer(answer("one")) as server:
        arguments = ["--json-schema", str(tmp_path / "schema.json"), "--target", server.target]
        assert call("generate", "hi", *arguments) == 0
    assert server.requests[0].response_format == json_schema(SCHEMA)


def test_generate_without_a_form_asks_for_none() -> None:
    with ScriptedServer(answer("one")) as server:
        assert call("generate", "hi", "--target", server.target) == 0
    assert not server.requests[0].HasField("response_format")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--regex", "a", "--choice", "b"], "{--regex, --choice}"),
        (["--json-schema", "no-such-file"], "'no-such-file'"),
    ],
)
def test_generate_refuses_two_forms_and_a_schema_that_is_not_there(
    flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("generate", "hi", *flags) != 0
    assert told in " ".join(capsys.readouterr().err.split())


def test_generate_tells_how_the_request_is_to_be_executed() -> None:
    with ScriptedServer(answer("one")) as server:
        flags = ["--request-id", "mine", "--time-budget-s", "1.5", "--max-queue-time-s", "2", "--resume"]
        assert call("generate", "hi", *flags, "--target", server.target) == 0
    (request,) = server.requests
    assert request.request_id == "mine"
    assert request.execution_policy == ExecutionPolicy(
        time_budget=Duration(seconds=1, nanos=500_000_000),
        max_queue_time=Duration(seconds=2),
        on_disconnect=OnDisconnect.ON_DISCONNECT_DETACH,
    )


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_generate_goes_on_with_an_answer_whose_connection_was_lost(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = answer("one ", "two")
    with ScriptedServer([*steps[:2], Cut(), *steps[2:]]) as server:
        assert call("generate", "hi", "--resume", *flags, "--target", server.target) == 0
    assert "one two" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [[], ["--resume"]])
def test_an_interrupt_ends_generate_and_its_completion(flags: list[str]) -> None:
    with ScriptedServer([*answer("half")[:2], UntilCancelled()]) as server:
        command = [*TOKENWIRE, "generate", "hi", *flags, "--target", server.target]
        with interruptible(command) as process:
            read_until(process, "half")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT_S)
        assert server.cancelled.wait(WAIT_S)
    assert (process.returncode, errors) == (128 + signal.SIGINT, b"")
    assert [cancel.completion_id for cancel in server.cancels] == (["chatcmpl-1"] if flags else [])


def test_cancel_names_a_completion_and_tells_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedServer(answer("one")) as server, Client(server.target) as client:
        list(client.stream("hi", execution_policy={"on_disconnect": "detach"}))
        assert call("cancel", "chatcmpl-1", "--target", server.target) == 0
        assert "chatcmpl-1: cancelled" in capsys.readouterr().out
        assert call("cancel", "chatcmpl-1", "--target", server.target) == 1
        assert call("cancel", "--request-id", "mine", "--target", server.target) == 0
        assert call("cancel", "--target", server.target) == 2
    assert server.cancels[-1].request_id == "mine"


def test_load_is_one_line_of_json_and_can_be_watched() -> None:
    with ScriptedServer(answer("one")) as server:
        load = json.loads(run("load", "--target", server.target).stdout)
        assert (load["state"], load["running_choices"]) == ("SERVER_STATE_SERVING", 3)
        command = [*TOKENWIRE, "load", "--watch-s", "0.1", "--target", server.target]
        with interruptible(command) as process:
            read_until(process, '"running_choices": 5')
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (0, b"")


def test_a_certificate_without_its_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "me.pem").write_text("")
    assert call("generate", "hi", "--tls-cert", str(tmp_path / "me.pem")) != 0
    assert "--tls-key" in capsys.readouterr().err


def test_generate_tells_an_error_on_standard_error() -> None:
    with ScriptedServer([Failure(grpc.StatusCode.INVALID_ARGUMENT, "`top_p` must be in [0, 1]; got 7")]) as server:
        result = run("generate", "hi", "--target", server.target)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "`top_p` must be in [0, 1]; got 7\n")


@pytest.mark.parametrize("command", [["generate"], ["chat"]])
def test_a_command_into_a_closed_pipe_ends_quietly_and_cancels_the_call(command: list[str]) -> None:
    with ScriptedServer([*answer(*["text"] * 50)[:51], UntilCancelled()]) as server:
        reader, writer = os.pipe()
        os.close(reader)
        words = [*TOKENWIRE, *command, "--target", server.target]
        result = subprocess.run(words, input=b"hi", stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
        os.close(writer)
        assert server.cancelled.wait(WAIT_S)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("command", [["generate"], ["chat"]])
def test_bytes_that_are_no_text_and_a_terminal_without_the_character_are_no_crash(command: list[str]) -> None:
    with ScriptedServer(answer("naïve")) as server:
        words = [*TOKENWIRE, *command, "--target", server.target]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        result = subprocess.run(words, input=b"h\xff", capture_output=True, env=environment, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"na?ve\n", b"")
    assert roles(server.requests[0]) == ["ROLE_USER: h\N{REPLACEMENT CHARACTER}"]


def call(*arguments: str) -> int:
    """The exit code of a command that runs in this process."""
    with pytest.raises(SystemExit) as caught:
        app([*arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("command", ["chat", "generate"])
@pytest.mark.parametrize(("flag", "value"), [("--seed", 1 << 63), ("--top-k", 1 << 31)])
def test_a_number_that_the_contract_cannot_hold_is_named(
    command: str, flag: str, value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(command, flag, str(value)) != 0
    assert f'"{value}" for {flag}' in " ".join(capsys.readouterr().err.split())
