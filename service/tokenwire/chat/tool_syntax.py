"""How models write tool calls: one table entry for each form that models are trained on."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolSyntax:
    """Calls are `begin` call (`separator` call)* `end`.

    A call is `before_name` NAME `before_arguments` ARGUMENTS `after_arguments`; the arguments are a JSON object.
    """

    name: str
    signs: tuple[str, ...]
    """A chat template that has all these texts belongs to a model of this syntax."""
    trigger: str
    """Where an answer's text turns into calls: the beginning of `begin` + `before_name`."""
    before_name: str
    before_arguments: str
    after_arguments: str = ""
    begin: str = ""
    separator: str = ""
    end: str = ""
    only_at_start: bool = False
    """Calls stand at the very start of the answer; elsewhere the trigger is text."""

    @property
    def marks(self) -> tuple[str, ...]:
        """All that is written around names and arguments."""
        around_call = (self.before_name, self.before_arguments, self.after_arguments)
        return (self.begin, *around_call, self.separator, self.end)


_HERMES = ToolSyntax(
    name="hermes",
    signs=("<tool_call>",),
    trigger="<tool_call>",
    before_name='<tool_call>\n{"name": "',
    before_arguments='", "arguments": ',
    after_arguments="}\n</tool_call>",
    separator="\n",
)
"""Nous Research's Hermes 2 Pro and 3, and Qwen 2.5 and 3."""

_LLAMA3 = ToolSyntax(
    name="llama3",
    signs=('{"name": "', '"parameters": '),
    trigger='{"name": "',
    before_name='{"name": "',
    before_arguments='", "parameters": ',
    after_arguments="}",
    separator="; ",
    only_at_start=True,
)
"""Meta's Llama 3.1 to 3.3, functions of the caller's own."""

_MISTRAL_ARGS = ToolSyntax(
    name="mistral-args",
    signs=("[ARGS]",),
    trigger="[TOOL_CALLS]",
    before_name="[TOOL_CALLS]",
    before_arguments="[ARGS]",
)
"""Mistral's models since 2025 (tokenizer v13)."""

_MISTRAL = ToolSyntax(
    name="mistral",
    signs=("[TOOL_CALLS][",),
    trigger="[TOOL_CALLS]",
    begin="[TOOL_CALLS][",
    before_name='{"name": "',
    before_arguments='", "arguments": ',
    after_arguments="}",
    separator=", ",
    end="]",
)
"""Mistral's models with a byte-level tokenizer (Nemo and later)."""

_MISTRAL_SPACED = ToolSyntax(
    name="mistral-spaced",
    signs=("[TOOL_CALLS]",),
    trigger="[TOOL_CALLS]",
    begin="[TOOL_CALLS] [",
    before_name='{"name": "',
    before_arguments='", "arguments": ',
    after_arguments="}",
    separator=", ",
    end="]",
)
"""Mistral's models with a SentencePiece tokenizer (7B v0.3), whose words begin with a space."""

_IN_ORDER = (_MISTRAL_ARGS, _MISTRAL, _MISTRAL_SPACED, _HERMES, _LLAMA3)

SYNTAXES: Mapping[str, ToolSyntax] = {syntax.name: syntax for syntax in _IN_ORDER}
"""By name. The first whose signs are in a template is the template's."""


def syntax_of(template_source: str) -> ToolSyntax:
    """The syntax of the model that a chat template belongs to; Hermes for templates that say nothing of calls."""
    fitting = (syntax for syntax in _IN_ORDER if all(sign in template_source for sign in syntax.signs))
    return next(fitting, _HERMES)
