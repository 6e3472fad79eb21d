"""What a valid request becomes before it is queued: the prompt, the grammar of the answer, and how to read it."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from tokenwire.chat.answer.reader import AnswerForm
from tokenwire.chat.answer.reasoning import Reasoning, before, reasoning_of
from tokenwire.chat.constraint.argument_schemas import ArgumentSchemas, JsonSchema, not_enforceable
from tokenwire.chat.constraint.response_format import format_field, format_rule
from tokenwire.chat.constraint.rule import Rule, json_rule
from tokenwire.chat.constraint.tool_grammar import tool_rule
from tokenwire.chat.model import ServedModel
from tokenwire.chat.prompt.raw import raw_prompt
from tokenwire.chat.prompt.template import Prompt
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.chat.tool_choice import active_tools, resolved_choice
from tokenwire.engine.grammar.text import TextGrammar
from tokenwire.engine.protocol import Engine, GrammarError
from tokenwire.errors import ConstraintInvalidError
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

LONG_REQUEST_BYTES = 4096
"""From here on tokenising takes over 3 ms (about 0.8 ms for 1000 bytes, measured), and so may parsing schemas: not on
the event loop."""

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the generation of an answer depends on, beside the sampling parameters."""

    prompt: Prompt
    grammar: str | None
    """Constrains the answer; None: any text."""
    form: AnswerForm


async def prepare(request: ChatCompletionRequest, *, model: ServedModel, engine: Engine) -> Prepared:
    """Render, tokenise, and find the grammar.

    Raises `InvalidRequestError` where the template refuses the conversation or a raw prompt is empty, and
    `ConstraintInvalidError` where a schema or a grammar cannot be enforced.
    """
    if request.HasField("raw_prompt"):
        prompt = await _compute(request, raw_prompt, request.raw_prompt, model.tokenizer)
        reasoning = Reasoning.NONE
    else:
        prompt = await _compute(request, model.template.prompt, request)
        reasoning = reasoning_of(prompt.text, model.template.source)
    if active_tools(request):
        grammar = await _tool_grammar(request, reasoning, model=model, engine=engine)
        is_named = resolved_choice(request).WhichOneof("choice") == "function_name"
        return Prepared(prompt, grammar, AnswerForm(reasoning=reasoning, tools=model.tool_syntax, is_named=is_named))
    rule = await _compute(request, format_rule, request.response_format)
    if rule is None:
        return Prepared(prompt, None, AnswerForm(reasoning=reasoning))
    grammar = _grammar(rule, reasoning, model.tokenizer)
    try:
        await engine.check_grammar(grammar)
    except GrammarError as error:
        raise ConstraintInvalidError([not_enforceable(format_field(request.response_format), str(error))]) from None
    follow = (await asyncio.to_thread(TextGrammar, rule.grammar())).follow if request.stop else None
    return Prepared(prompt, grammar, AnswerForm(reasoning=reasoning, is_constrained=True, follow_content=follow))


async def _tool_grammar(
    request: ChatCompletionRequest, reasoning: Reasoning, *, model: ServedModel, engine: Engine
) -> str:
    """The grammar of an answer with calls. One check will do, unless it fails: then each function is looked at."""
    schemas = await _compute(request, ArgumentSchemas, request.tools)

    async def checked() -> str:
        grammar = await _compute(request, _calls, request, schemas, reasoning, model)
        await engine.check_grammar(grammar)
        return grammar

    if not schemas.problems:
        with suppress(GrammarError):
            return await checked()
    schemas.give_up(await _refusals(schemas, engine))
    if schemas.problems:
        raise ConstraintInvalidError(schemas.problems)
    try:
        return await checked()
    except GrammarError as error:
        raise ConstraintInvalidError([not_enforceable("tools", str(error))]) from None


async def _refusals(schemas: ArgumentSchemas, engine: Engine) -> Mapping[str, str]:
    """Function name → why the engine refuses its schema, for those that it refuses."""
    refusals: dict[str, str] = {}

    async def ask(name: str, schema: JsonSchema) -> None:
        try:
            await engine.check_grammar(Rule(f"answer: {json_rule(schema)}").grammar())
        except GrammarError as error:
            refusals[name] = str(error)

    await asyncio.gather(*(ask(name, schema) for name, schema in schemas.items()))
    return refusals


def _calls(request: ChatCompletionRequest, schemas: ArgumentSchemas, reasoning: Reasoning, model: ServedModel) -> str:
    rule = tool_rule(
        request.tools,
        resolved_choice(request),
        parallel=request.parallel_tool_calls if request.HasField("parallel_tool_calls") else True,
        syntax=model.tool_syntax,
        tokenizer=model.tokenizer,
        schemas=dict(schemas.items()),
    )
    return _grammar(rule, reasoning, model.tokenizer)


def _grammar(rule: Rule, reasoning: Reasoning, tokenizer: ChatTokenizer) -> str:
    expression, definitions = before(reasoning, tokenizer)
    return rule.grammar(before=expression, definitions=definitions)


async def _compute(
    request: ChatCompletionRequest, function: Callable[[*_Arguments], _Result], *args: *_Arguments
) -> _Result:
    """Call a function: in a thread if the request is long, for the event loop serves everybody."""
    if request.ByteSize() < LONG_REQUEST_BYTES:
        return function(*args)
    return await asyncio.to_thread(function, *args)
