"""The grammar of answers that call tools."""

from collections.abc import Mapping, Sequence

from tokenwire.chat.grammar import Rule
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.chat.tool_syntax import ToolSyntax
from tokenwire.v1.chat_pb2 import Tool, ToolChoice


def tool_rule(
    tools: Sequence[Tool],
    choice: ToolChoice,
    *,
    parallel: bool,
    syntax: ToolSyntax,
    tokenizer: ChatTokenizer,
    schemas: Mapping[str, object],
) -> Rule:
    """What an answer may look like. `schemas` has the JSON schema (a JSON value) of each function's arguments.

    `choice` is auto, required or a function; `parallel` allows more than one call, but not of a named function.
    """
    raise NotImplementedError
