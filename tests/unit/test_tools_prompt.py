"""Tools for models whose template knows none: the documented default."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from support.chat_templates import EXAMPLES
from support.tiny import make_tokenizer
from tokenwire.chat.prompt.template import ChatTemplate
from tokenwire.chat.tokenizer import ChatTokenizer, load_hf_tokenizer
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

DOCUMENT = Path(__file__).parents[2] / "docs" / "tools.md"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"function": {"name": "get_weather", "description": "Says the weather.", "parameters": json.dumps(SCHEMA)}}
SYSTEM, USER = {"role": "ROLE_SYSTEM", "content": "Be kind."}, {"role": "ROLE_USER", "content": "Zürich?"}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'


def call(id: str) -> dict[str, Any]:
    return {"id": id, "function": {"name": "get_weather", "arguments": '{"city":"Z\\u00fcrich"}'}}


def result(id: str, content: str) -> dict[str, str]:
    return {"role": "ROLE_TOOL", "tool_call_id": id, "content": content}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder, chat_template=None)
    return folder


def rendered(folder: Path, *messages: dict[str, Any], name: str = "smollm2", **fields: Any) -> str:
    source = EXAMPLES[name].source
    tokenizer = ChatTokenizer(load_hf_tokenizer(folder), vocabulary_size=520, chat_template=source)
    template = ChatTemplate(source, tokenizer)
    assert not template.knows_tools
    body = {"model": "m", "messages": list(messages), **fields}
    return template.prompt(ParseDict(body, ChatCompletionRequest())).text


def documented() -> str:
    """The text that `docs/tools.md` gives, for the one tool here."""
    [text] = [block for block in DOCUMENT.read_text("utf-8").split("```text\n")[1:] if block.startswith("# Tools")]
    definition = {"type": "function", "function": {**TOOL["function"], "parameters": SCHEMA}}
    return text.split("\n```")[0].replace("{one line of JSON for each tool}", json.dumps(definition))


def test_tools_are_told_in_a_system_message_as_documented(folder: Path) -> None:
    start = f"<|im_start|>system\n{documented()}<|im_end|>\n<|im_start|>user\nZürich?<|im_end|>\n"
    assert rendered(folder, USER, tools=[TOOL]) == f"{start}<|im_start|>assistant\n"


@pytest.mark.parametrize("role", ["ROLE_SYSTEM", "ROLE_DEVELOPER"])
def test_tools_come_after_what_the_system_message_says(folder: Path, role: str) -> None:
    text = rendered(folder, {**SYSTEM, "role": role}, USER, tools=[TOOL])
    assert text.startswith(f"<|im_start|>system\nBe kind.\n\n{documented()}<|im_end|>\n<|im_start|>user")


def test_an_empty_system_message_is_only_the_tools(folder: Path) -> None:
    assert rendered(folder, {**SYSTEM, "content": ""}, USER, tools=[TOOL]) == rendered(folder, USER, tools=[TOOL])


def test_tools_are_told_by_the_user_where_there_is_no_system_role(folder: Path) -> None:
    text = rendered(folder, USER, name="gemma", tools=[TOOL])
    assert f"<start_of_turn>user\n{documented()}\n\nZürich?<end_of_turn>" in text


def test_without_tools_nothing_is_told(folder: Path) -> None:
    none = {"mode": "TOOL_CHOICE_MODE_NONE"}
    assert rendered(folder, USER, tools=[TOOL], tool_choice=none) == rendered(folder, USER)


def test_calls_and_results_are_ordinary_messages(folder: Path) -> None:
    calling = {"role": "ROLE_ASSISTANT", "content": "Let me see.", "tool_calls": [call("a"), call("b")]}
    text = rendered(folder, SYSTEM, USER, calling, result("a", "sunny"), result("b", "rain"), USER)
    assert text.endswith(
        f"<|im_start|>assistant\nLet me see.\n{CALL}\n{CALL}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nZürich?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_call_needs_no_words_around_it(folder: Path) -> None:
    text = rendered(folder, USER, {"role": "ROLE_ASSISTANT", "tool_calls": [call("a")]}, result("a", "sunny"))
    assert f"<|im_start|>assistant\n{CALL}<|im_end|>\n<|im_start|>user\n<tool_response>" in text
