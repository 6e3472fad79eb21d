"""grpcurl against the real command: that answers are right, where docs/grpcurl.md shows their form only."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from google.protobuf.json_format import ParseDict

from e2e.conftest import CALL_TIMEOUT_S, MODEL
from support.serve_process import ServeProcess
from tokenwire.stream import StreamChecker
from tokenwire.v1.chat_pb2 import ChatCompletionEvent

pytestmark = pytest.mark.smollm2

GRPCURL = str(Path(sys.executable).with_name("grpcurl"))
CHAT = {
    "model": MODEL,
    "messages": [{"role": "ROLE_USER", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_completion_tokens": 12,
}


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "rivers": {"type": "integer", "maximum": 9}},
    "required": ["city", "rivers"],
    "additionalProperties": False,
}
WEATHER = {"function": {"name": "get_weather", "description": "The weather", "parameters": json.dumps(SCHEMA)}}
TOOLS = {**CHAT, "tools": [WEATHER], "tool_choice": {"mode": "TOOL_CHOICE_MODE_REQUIRED"}, "max_completion_tokens": 96}


def grpcurl(
    server: ServeProcess, *words: str, data: dict[str, object] | None = None
) -> subprocess.CompletedProcess[str]:
    """Flags and words as typed; the address goes in front of the first word that is no flag."""
    flags = [] if data is None else ["-d", json.dumps(data)]
    command = [GRPCURL, "-plaintext", *flags, server.target, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)


def output(server: ServeProcess, *words: str, data: dict[str, object] | None = None) -> str:
    """Of a call that succeeds."""
    done = grpcurl(server, *words, data=data)
    assert done.returncode == 0, done.stderr
    return done.stdout


def messages(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an answer, which grpcurl prints one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_a_streamed_chat_has_the_same_text_in_pieces(smollm2_command: ServeProcess) -> None:
    (whole,) = messages(output(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=CHAT))
    events = messages(output(smollm2_command, "tokenwire.v1.ChatService/StreamChatCompletion", data=CHAT))
    checker = StreamChecker()
    for event in events:
        checker.check(ParseDict(event, ChatCompletionEvent()))
    checker.end()
    deltas = [event["delta"]["content"] for event in events if "delta" in event]
    assert len(deltas) > 1
    assert "".join(deltas) == whole["choices"][0]["content"]


def test_an_answer_matches_its_json_schema(smollm2_command: ServeProcess) -> None:
    asked = {**CHAT, "max_completion_tokens": 64, "response_format": {"json_schema": {"schema": json.dumps(SCHEMA)}}}
    (completion,) = messages(output(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=asked))
    jsonschema.validate(json.loads(completion["choices"][0]["content"]), SCHEMA)
    assert completion["choices"][0]["finish_reason"] == "FINISH_REASON_STOP"


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_keyword(smollm2_command: ServeProcess) -> None:
    asked = {**CHAT, "response_format": {"json_schema": {"schema": '{"not": {"type": "string"}}'}}}
    done = grpcurl(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=asked)
    assert "Code: InvalidArgument" in done.stderr
    for words in ("CONSTRAINT_INVALID", "response_format.json_schema.schema", "not"):
        assert words in done.stderr


def test_a_required_tool_is_called_with_arguments_that_match(smollm2_command: ServeProcess) -> None:
    (completion,) = messages(output(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=TOOLS))
    (choice,) = completion["choices"]
    assert choice["finish_reason"] == "FINISH_REASON_TOOL_CALLS"
    assert len({call["id"] for call in choice["tool_calls"]}) == len(choice["tool_calls"])
    for call in choice["tool_calls"]:
        assert call["function"]["name"] == "get_weather"
        jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMA)


def test_the_rendered_prompt_shows_the_tools_and_the_grammar(smollm2_command: ServeProcess) -> None:
    (rendered,) = messages(output(smollm2_command, "tokenwire.v1.TokenService/RenderPrompt", data=TOOLS))
    (counted,) = messages(output(smollm2_command, "tokenwire.v1.TokenService/CountTokens", data=TOOLS))
    assert "get_weather" in rendered["prompt"]
    assert "get_weather" in rendered["grammar"]
    assert len(rendered["token_ids"]) == counted["prompt_tokens"]
    (free,) = messages(output(smollm2_command, "tokenwire.v1.TokenService/RenderPrompt", data=CHAT))
    assert "grammar" not in free


def test_a_stored_completion_is_read_again(smollm2_command: ServeProcess) -> None:
    asked = {**CHAT, "store": True, "metadata": {"team": "blue"}, "user": "ann"}
    (completion,) = messages(output(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=asked))
    wanted: dict[str, object] = {"completion_id": completion["id"]}
    (stored,) = messages(output(smollm2_command, "tokenwire.v1.ChatService/GetChatCompletion", data=wanted))
    assert (stored["completion"], stored["metadata"], stored["user"]) == (completion, {"team": "blue"}, "ann")
    wanted = {"completion_id": "chatcmpl-none"}
    done = grpcurl(smollm2_command, "tokenwire.v1.ChatService/GetChatCompletion", data=wanted)
    assert "Code: NotFound" in done.stderr
    assert "COMPLETION_NOT_FOUND" in done.stderr


def test_an_error_tells_every_violation(smollm2_command: ServeProcess) -> None:
    wrong = {**CHAT, "temperature": 3, "top_p": -1}
    done = grpcurl(smollm2_command, "tokenwire.v1.ChatService/CreateChatCompletion", data=wrong)
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert "type.googleapis.com/google.rpc.BadRequest" in done.stderr
    for words in ("`temperature` must be in [0, 2]; got 3", "`top_p` must be in [0, 1]; got -1", "FIELD_INVALID"):
        assert words in done.stderr
