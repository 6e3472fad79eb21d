"""What an answer's text consists of: reasoning, content, tool calls."""

from collections.abc import Callable
from dataclasses import dataclass

from tokenwire.chat.reasoning import Reasoning
from tokenwire.chat.tool_syntax import ToolSyntax


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How to read an answer."""

    reasoning: Reasoning = Reasoning.NONE
    tools: ToolSyntax | None = None
    """The syntax of the calls to look for; None: none are looked for."""
    is_named: bool = False
    """`tool_choice` names a function: its call is what the answer is, so the finish reason is STOP."""
    is_complete: Callable[[str], bool] | None = None
    """Whether a content would be a whole answer. Given if and only if `response_format` constrains the content: then
    every character of it counts, and a stop string ends it only where the content before is complete."""
