"""What a valid request becomes before it is queued: the prompt, the grammar of the answer, and how to read it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenwire.chat.answer import AnswerForm
from tokenwire.chat.grammar import Rule, json_rule
from tokenwire.chat.model import ServedModel
from tokenwire.chat.reasoning import Reasoning, before, reasoning_of
from tokenwire.chat.response_format import FIELDS, format_rule
from tokenwire.chat.schema_gaps import SchemaGap, gaps
from tokenwire.chat.template import Prompt
from tokenwire.chat.tokenizer import ChatTokenizer
from tokenwire.chat.tool_choice import active_tools, resolved_choice
from tokenwire.chat.tool_grammar import tool_rule
from tokenwire.engine.protocol import Engine, GrammarError
from tokenwire.engine.text_grammar import TextGrammar
from tokenwire.errors import ConstraintInvalidError, Violation
from tokenwire.v1.chat_pb2 import ChatCompletionRequest, FunctionDefinition, Tool

LONG_REQUEST_BYTES = 4096
"""From here on tokenising takes over 3 ms (about 0.8 ms for 1000 bytes, measured), and so may parsing schemas: not on
the event loop."""

_ANY_OBJECT = {"type": "object"}
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that the generation of an answer depends on, beside the sampling parameters."""

    prompt: Prompt
    grammar: str | None
    """Constrains the answer; None: any text."""
    form: AnswerForm


async def prepare(request: ChatCompletionRequest, *, model: ServedModel, engine: Engine) -> Prepared:
    """Render, tokenise, and find the grammar.

    Raises `InvalidRequestError` where the template refuses the conversation and `ConstraintInvalidError` where a schema
    or a grammar cannot be enforced.
    """
    if request.ByteSize() < LONG_REQUEST_BYTES:
        prompt = model.template.prompt(request)
    else:
        prompt = await asyncio.to_thread(model.template.prompt, request)
    reasoning = reasoning_of(prompt.text, model.template.source)
    if tools := active_tools(request):
        return Prepared(
            prompt,
            await _tool_grammar(request, tools, reasoning, model=model, engine=engine),
            AnswerForm(
                reasoning=reasoning,
                tools=model.tool_syntax,
                is_named=resolved_choice(request).WhichOneof("choice") == "function_name",
            ),
        )
    rule = format_rule(request.response_format)
    if rule is None:
        return Prepared(prompt, None, AnswerForm(reasoning=reasoning))
    grammar = await _format_grammar(request, rule, reasoning, model=model, engine=engine)
    follow = (await asyncio.to_thread(TextGrammar, rule.grammar())).follow if request.stop else None
    return Prepared(prompt, grammar, AnswerForm(reasoning=reasoning, is_constrained=True, follow_content=follow))


async def _format_grammar(
    request: ChatCompletionRequest, rule: Rule, reasoning: Reasoning, *, model: ServedModel, engine: Engine
) -> str:
    kind = request.response_format.WhichOneof("format")
    field = FIELDS.get(kind or "", "response_format")
    if kind == "json_schema":
        _refuse_gaps(field, json.loads(request.response_format.json_schema.schema))
    grammar = _grammar(rule, reasoning, model.tokenizer)
    try:
        await engine.check_grammar(grammar)
    except GrammarError as error:
        raise _not_enforceable([(field, str(error))]) from None
    return grammar


async def _tool_grammar(
    request: ChatCompletionRequest,
    tools: Sequence[Tool],
    reasoning: Reasoning,
    *,
    model: ServedModel,
    engine: Engine,
) -> str:
    rule = tool_rule(
        tools,
        resolved_choice(request),
        parallel=request.parallel_tool_calls if request.HasField("parallel_tool_calls") else True,
        syntax=model.tool_syntax,
        tokenizer=model.tokenizer,
        schemas=await _argument_schemas(tools, engine),
    )
    grammar = _grammar(rule, reasoning, model.tokenizer)
    try:
        await engine.check_grammar(grammar)
    except GrammarError as error:
        raise _not_enforceable([("tools", str(error))]) from None
    return grammar


async def _argument_schemas(tools: Sequence[Tool], engine: Engine) -> Mapping[str, Mapping[str, object]]:
    """Function name → the schema that its arguments are constrained to.

    What a strict function's schema asks must be enforceable; others' schemas give way to any object where it is not.
    """
    schemas: dict[str, Mapping[str, object]] = {}
    problems: list[tuple[str, str]] = []
    for index, tool in enumerate(tools):
        function = tool.function
        schema = _argument_schema(function)
        reason = await _why_not_enforceable(schema, engine)
        if reason is not None and function.strict:
            problems.append((f"tools[{index}].function.parameters", reason))
        schemas[function.name] = schema if reason is None else _ANY_OBJECT
    if problems:
        raise _not_enforceable(problems)
    return schemas


def _argument_schema(function: FunctionDefinition) -> dict[str, object]:
    if not function.parameters:
        return _NO_ARGUMENTS
    schema: dict[str, object] = json.loads(function.parameters)
    return {"type": "object", **schema}


async def _why_not_enforceable(schema: dict[str, object], engine: Engine) -> str | None:
    if schema is _NO_ARGUMENTS:
        return None
    if found := gaps(schema):
        return _told(found[0])
    try:
        await engine.check_grammar(Rule(f"answer: {json_rule(schema)}").grammar())
    except GrammarError as error:
        return str(error)
    return None


def _grammar(rule: Rule, reasoning: Reasoning, tokenizer: ChatTokenizer) -> str:
    expression, definitions = before(reasoning, tokenizer)
    return rule.grammar(before=expression, definitions=definitions)


def _refuse_gaps(field: str, schema: dict[str, object]) -> None:
    if found := gaps(schema):
        raise _not_enforceable([(field, _told(gap)) for gap in found])


def _told(gap: SchemaGap) -> str:
    """Names the keyword, where it stands, and why it cannot be enforced."""
    return f"`{gap.keyword}` at {gap.pointer or 'the top'} {gap.reason}"


def _not_enforceable(problems: Sequence[tuple[str, str]]) -> ConstraintInvalidError:
    return ConstraintInvalidError([Violation(field, f"`{field}`: {reason}") for field, reason in problems])
