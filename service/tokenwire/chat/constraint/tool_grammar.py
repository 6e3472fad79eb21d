"""The grammar of answers that call tools."""

import json
from collections.abc import Iterable, Mapping

from tokenwire.chat.answer.reasoning import THINK
from tokenwire.chat.constraint.marks import ANY, up_to, without, written
from tokenwire.chat.constraint.rule import Rule, json_rule
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.chat.tool_syntax import ToolSyntax
from tokenwire.v1.chat_pb2 import Tool, ToolChoice, ToolChoiceMode

_SPACE = r"/[ \t\r\n]*/"


def tool_rule(
    tools: Iterable[Tool],
    choice: ToolChoice,
    *,
    parallel: bool,
    syntax: ToolSyntax,
    tokenizer: ChatTokenizer,
    schemas: Mapping[str, Mapping[str, object]],
) -> Rule:
    """What an answer may look like. `schemas` has the JSON schema (a JSON value) of each function's arguments.

    `choice` is auto, required or a function; `parallel` allows more than one call, but not of a named function.
    """
    named = choice.function_name
    names = [named] if named else [tool.function.name for tool in tools]
    definitions = [_calls(syntax, tokenizer, is_repeated=parallel and not named), _call(names, syntax, tokenizer)]
    definitions += [f"arguments_{position}: {json_rule(schemas[name])}" for position, name in enumerate(names)]
    if choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_AUTO:
        definitions += ["answer: TEXT | first calls", *_text_and_trigger(syntax, tokenizer)]
    else:
        definitions += [f"answer: {written(syntax.trigger, tokenizer)} calls"]
    return Rule("\n".join(definitions))


def _calls(syntax: ToolSyntax, tokenizer: ChatTokenizer, *, is_repeated: bool) -> str:
    """What follows the trigger: the first call and others."""
    opening = (syntax.begin + syntax.before_name).removeprefix(syntax.trigger)
    others = f"({written(syntax.separator + syntax.before_name, tokenizer)} call)*" if is_repeated else ""
    return f"calls: {written(opening, tokenizer)} call {others} {written(syntax.end, tokenizer)}"


def _call(names: list[str], syntax: ToolSyntax, tokenizer: ChatTokenizer) -> str:
    """A call from the function's name on."""
    end = written(syntax.after_arguments, tokenizer)
    calls = (
        f"{written(name + syntax.before_arguments, tokenizer)} arguments_{position} {end}"
        for position, name in enumerate(names)
    )
    return f"call: {' | '.join(calls)}"


def _text_and_trigger(syntax: ToolSyntax, tokenizer: ChatTokenizer) -> list[str]:
    """Free text without calls, and what may stand before calls.

    Text with the trigger spelled in it, or beginning as reasoning does, would be read as what it is not.
    """
    not_thought = f"~({_SPACE} {json.dumps(THINK)} {ANY})"
    if not syntax.only_at_start:
        text = f"TEXT: {without(syntax.trigger)} & {not_thought}"
        return [text, up_to(syntax.trigger, text="TEXT", rule="first", tokenizer=tokenizer)]
    not_call = f"~({_SPACE} {json.dumps(syntax.trigger)} {ANY})"
    return [f"TEXT: {ANY} & {not_call} & {not_thought}", f"first: {written(syntax.trigger, tokenizer)}"]
