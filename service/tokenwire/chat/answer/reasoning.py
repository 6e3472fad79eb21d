"""Reasoning models: whether an answer begins with a `<think>` section, and the grammar of that."""

from enum import Enum

from tokenwire.chat.constraint.marks import up_to, without, written
from tokenwire.chat.tokenizer import ChatTokenizer

THINK, THINK_END = "<think>", "</think>"

AFTER_THINK = "\n\n"
"""What a constrained answer has between its reasoning and its content, as the models are trained."""


class Reasoning(Enum):
    """Whether an answer begins with reasoning."""

    NONE = "none"
    OPEN = "open"
    """The prompt ends with `<think>`: the answer begins inside the section."""
    POSSIBLE = "possible"
    """The answer may begin with `<think>`."""


def reasoning_of(prompt_text: str, template_source: str) -> Reasoning:
    """What to expect of an answer. Only the prompt's end counts: what users write is somewhere before it."""
    if THINK_END not in template_source and THINK not in template_source:
        return Reasoning.NONE
    prompt = prompt_text.rstrip()
    if prompt.endswith(THINK):
        return Reasoning.OPEN
    return Reasoning.NONE if prompt.endswith(THINK_END) else Reasoning.POSSIBLE


def before(reasoning: Reasoning, tokenizer: ChatTokenizer) -> tuple[str, str]:
    """`before` and `definitions` of `Rule.grammar`: reasoning of any length, then `AFTER_THINK`."""
    if reasoning is Reasoning.NONE:
        return "", ""
    is_possible = reasoning is Reasoning.POSSIBLE
    start = written(THINK, tokenizer) if is_possible else ""
    definitions = (
        f"reasoning: {start} thought {written(AFTER_THINK, tokenizer)}",
        up_to(THINK_END, text="THOUGHT", rule="thought", tokenizer=tokenizer),
        f"THOUGHT: {without(THINK_END)}",
    )
    return "reasoning?" if is_possible else "reasoning", "\n".join(definitions)
