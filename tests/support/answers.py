"""Reads whole answers with the parser of the chat layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenwire.chat.answer.reader import AnswerForm, AnswerParser
from tokenwire.chat.answer.tool_calls import merge
from tokenwire.chat.tool_syntax import ToolSyntax
from tokenwire.v1.chat_pb2 import ToolCallDelta


@dataclass(frozen=True)
class Answer:
    """What an answer consists of."""

    reasoning: str = ""
    content: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """(function, arguments)."""


def read(pieces: Sequence[str], form: AnswerForm) -> Answer:
    """Read an answer that comes in pieces."""
    parser = AnswerParser(form)
    parts = [*(parser.push(piece) for piece in pieces), parser.push("", is_last=True)]
    calls: list[ToolCallDelta] = []
    for part in parts:
        merge(calls, part.tool_calls)
    return Answer(
        "".join(part.reasoning for part in parts),
        "".join(part.content for part in parts),
        tuple((call.name, call.arguments) for call in calls),
    )


def written_calls(syntax: ToolSyntax, calls: Sequence[tuple[str, str]]) -> str:
    """Calls, (function, arguments), as a model of the syntax writes them."""
    written = (
        f"{syntax.before_name}{name}{syntax.before_arguments}{arguments}{syntax.after_arguments}"
        for name, arguments in calls
    )
    return f"{syntax.begin}{syntax.separator.join(written)}{syntax.end}"
