"""What a request becomes: the grammar of its answer, how to read it, and what cannot be enforced."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from support.fake_engine import FakeEngine, make_info
from support.whole_text import accepts
from tokenwire.chat.answer.reasoning import Reasoning
from tokenwire.chat.model import ServedModel
from tokenwire.chat.preparation import Prepared, prepare
from tokenwire.chat.service import ChatService
from tokenwire.errors import ConstraintInvalidError
from tokenwire.v1.chat_pb2 import ChatCompletionRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NOT_ENFORCED = {"type": "object", "properties": {"city": {"not": {"type": "string"}}}}
OVERLAPPING = {"type": "object", "properties": {"city": {"oneOf": [{"maxLength": 3}, {"minLength": 2}]}}}
"""The engine refuses it, as llguidance does."""


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(refusal=lambda grammar: "oneOf constraints are not supported" if '"oneOf"' in grammar else None)


def request(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "tiny", "messages": [{"role": "ROLE_USER", "content": "hi"}], **fields}
    return ParseDict(body, ChatCompletionRequest())


def function(name: str, parameters: object, *, strict: bool = False) -> dict[str, object]:
    return {"function": {"name": name, "parameters": json.dumps(parameters), "strict": strict}}


async def prepared(engine: FakeEngine, model: ServedModel, **fields: Any) -> Prepared:
    return await prepare(request(**fields), model=model, engine=engine)


async def test_free_text_has_no_grammar(engine: FakeEngine, model: ServedModel) -> None:
    free = await prepared(engine, model, response_format={"text": {}})
    assert free.grammar is None
    assert free.form.tools is None
    assert not free.form.is_constrained
    assert engine.grammars == []


async def test_the_engine_checks_the_grammar_that_it_is_then_given(engine: FakeEngine, model: ServedModel) -> None:
    constrained = await prepared(engine, model, response_format={"json_schema": {"schema": json.dumps(SCHEMA)}})
    assert constrained.grammar is not None
    assert engine.grammars == [constrained.grammar]
    assert accepts(constrained.grammar, '{"city": "Oslo"}')
    assert not accepts(constrained.grammar, '{"city": 1}')


async def test_a_stop_string_may_end_a_constrained_answer_only_where_it_is_complete(
    engine: FakeEngine, model: ServedModel
) -> None:
    form = (await prepared(engine, model, response_format={"regex": "[a-z]+( [a-z]+)*"}, stop=[" "])).form
    assert form.is_constrained
    assert form.follow_content is not None
    content = form.follow_content()
    assert [content.is_complete_with(text) for text in ("one", "one two", "one ", "")] == [True, True, False, False]


@pytest.mark.parametrize(("schema", "words"), [(NOT_ENFORCED, "`not` at /properties/city"), (OVERLAPPING, "oneOf")])
async def test_what_cannot_be_enforced_is_refused_by_field_and_keyword(
    engine: FakeEngine, model: ServedModel, schema: object, words: str
) -> None:
    with pytest.raises(ConstraintInvalidError) as caught:
        await prepared(engine, model, response_format={"json_schema": {"schema": json.dumps(schema)}})
    [violation] = caught.value.violations
    assert violation.field == "response_format.json_schema.schema"
    assert words in violation.description


async def test_strict_functions_are_refused_where_their_schema_cannot_be_enforced(
    engine: FakeEngine, model: ServedModel
) -> None:
    tools = [function("a", NOT_ENFORCED, strict=True), function("b", SCHEMA, strict=True)]
    tools.append(function("c", OVERLAPPING, strict=True))
    with pytest.raises(ConstraintInvalidError) as caught:
        await prepared(engine, model, tools=tools)
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["tools[0].function.parameters", "tools[2].function.parameters"]


async def test_other_functions_then_take_any_object(engine: FakeEngine, model: ServedModel) -> None:
    asked = {"tools": [function("a", NOT_ENFORCED), function("b", SCHEMA)], "tool_choice": {"function_name": "a"}}
    grammar = (await prepared(engine, model, **asked)).grammar
    assert grammar is not None
    call = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'
    assert accepts(grammar, call.format("a", '{"city": "Oslo", "more": [1]}'))
    assert not accepts(grammar, call.format("a", '"Oslo"'))
    assert not accepts(grammar, call.format("b", '{"city": "Oslo"}'))


async def test_functions_whose_schemas_can_be_enforced_cost_one_check_together(
    engine: FakeEngine, model: ServedModel
) -> None:
    grammar = (await prepared(engine, model, tools=[function("a", SCHEMA), function("b", SCHEMA, strict=True)])).grammar
    assert engine.grammars == [grammar]


async def test_a_function_without_parameters_takes_an_empty_object(engine: FakeEngine, model: ServedModel) -> None:
    asked = {"tools": [{"function": {"name": "now"}}], "tool_choice": {"mode": "TOOL_CHOICE_MODE_REQUIRED"}}
    grammar = (await prepared(engine, model, **asked)).grammar
    assert grammar is not None
    assert accepts(grammar, '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>')
    assert not accepts(grammar, '<tool_call>\n{"name": "now", "arguments": {"a": 1}}\n</tool_call>')
    assert not accepts(grammar, "It is late.")


async def test_tools_that_may_not_be_called_change_nothing(engine: FakeEngine, model: ServedModel) -> None:
    none = await prepared(engine, model, tools=[function("b", SCHEMA)], tool_choice={"mode": "TOOL_CHOICE_MODE_NONE"})
    plain = await prepared(engine, model)
    assert none.prompt == plain.prompt
    assert none.grammar is None
    assert none.form.tools is None


async def test_a_named_function_is_read_as_such(engine: FakeEngine, model: ServedModel) -> None:
    tools = [function("b", SCHEMA)]
    named = await prepared(engine, model, tools=tools, tool_choice={"function_name": "b"})
    auto = await prepared(engine, model, tools=tools)
    assert (named.form.is_named, auto.form.is_named) == (True, False)
    assert named.form.tools is model.tool_syntax


async def test_reasoning_may_come_before_a_constrained_answer(
    engine: FakeEngine, tiny_folder: Path, tmp_path: Path
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|><think>\n")
    model = ServedModel.load("tiny", make_info(tiny_folder), chat_template=template)
    assert model.reasons
    thinking = await prepared(engine, model, response_format={"regex": "[0-9]+"})
    assert thinking.form.reasoning is Reasoning.OPEN
    assert thinking.grammar is not None
    assert accepts(thinking.grammar, "Let me count.</think>\n\n42")
    assert not accepts(thinking.grammar, "42")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"json_schema": {"schema": json.dumps(SCHEMA)}}},
        {"tools": [function("b", SCHEMA)], "tool_choice": {"mode": "TOOL_CHOICE_MODE_REQUIRED"}},
    ],
)
async def test_render_prompt_and_count_tokens_say_what_a_completion_does(
    engine: FakeEngine, model: ServedModel, fields: dict[str, Any]
) -> None:
    service = ChatService(engine, max_queue=1, max_request_bytes=1)
    service.open(model)
    asked = request(**fields)
    rendered, counted = await service.render_prompt(asked), await service.count_tokens(asked)
    events = service.stream(asked)
    started = (await anext(events)).started
    await events.aclose()
    [generation] = engine.requests
    assert tuple(rendered.token_ids) == generation.prompt_token_ids
    assert rendered.grammar == (generation.sampling.grammar or "")
    assert counted.prompt_tokens == started.prompt_tokens == len(generation.prompt_token_ids)
    assert counted.available_completion_tokens == generation.sampling.max_tokens
