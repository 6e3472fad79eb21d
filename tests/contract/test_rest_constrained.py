"""Response formats through REST: the schema reaches the engine; what cannot be enforced, and answers that fail."""

import json

import openai
import pytest
from pydantic import BaseModel

from support.fake_engine import answer, output
from support.rest_api import CHAT, MODEL, PATH, TOKENS, Api, Json, error_of
from tokenwire.chat.model import ServedModel
from tokenwire.engine.protocol import FinishReason

SCHEMA = {"type": "object", "properties": {"z": {"const": 3}, "a": {"type": "string"}}, "required": ["z", "a"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}


class City(BaseModel):
    """What the SDK makes a schema of."""

    name: str
    people: int


async def test_a_schema_reaches_the_engine_with_its_keys_in_order(api: Api) -> None:
    await api.chat(response_format=FORMAT)
    (request,) = api.engine.requests
    assert request.sampling.grammar is not None
    assert request.sampling.grammar in api.engine.grammars
    assert request.sampling.grammar.index('"z"') < request.sampling.grammar.index('"a"')


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        {"type": "regex", "regex": "a+"},
        {"type": "lark", "lark": 'start: "a"'},
        {"type": "choice", "choice": ["a", "b"]},
    ],
)
async def test_every_form_constrains_the_answer(api: Api, form: Json) -> None:
    await api.chat(response_format=form)
    assert api.engine.requests[0].sampling.grammar is not None


async def test_any_text_is_not_constrained(api: Api) -> None:
    await api.chat(response_format={"type": "text"})
    assert api.engine.requests[0].sampling.grammar is None


async def test_the_sdk_parses_an_answer_into_the_type_that_made_the_schema(
    api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI
) -> None:
    text = '{"name": "Paris", "people": 2000000}'
    api.engine.script = answer([*rest_model.tokenizer.encode_text(text, add_special_tokens=False), 2])
    completion = await sdk.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Paris?"}], response_format=City
    )
    assert completion.choices[0].message.parsed == City(name="Paris", people=2000000)


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "json_schema", "json_schema": {"name": "n"}}, "response_format.json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}, "response_format.json_schema.name"),
        ({"type": "regex", "regex": ""}, "response_format.regex"),
        ({"type": "choice", "choice": []}, "response_format.choice"),
        ({"type": "choice", "choice": ["a", ""]}, "response_format.choice[1]"),
    ],
)
async def test_what_is_wrong_with_a_format_is_named_as_in_the_body(api: Api, form: Json, param: str) -> None:
    error = await api.refusal(400, response_format=form)
    assert error["param"] == param
    assert f"`{param}`" in str(error["message"])


@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_enforced_is_refused_by_field_and_reason(api: Api, stream: bool) -> None:
    api.engine.refusal = lambda grammar: "it is too odd"
    error = await api.refusal(400, response_format=FORMAT, stream=stream)
    assert (error["param"], error["type"]) == ("response_format.json_schema.schema", "invalid_request_error")
    assert "it is too odd" in str(error["message"])


async def test_an_answer_that_cannot_go_on_is_unprocessable(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], [output(finish=FinishReason.CONSTRAINT_FAILED)]]
    error = await api.refusal(422, response_format=FORMAT)
    assert (error["type"], error["code"]) == ("invalid_request_error", "constraint_failed")


async def test_a_stream_that_cannot_go_on_ends_with_the_error(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], [output(finish=FinishReason.CONSTRAINT_FAILED)]]
    lines = await api.stream_lines(response_format=FORMAT)
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "constraint_failed"


async def test_a_body_too_deep_is_refused(api: Api) -> None:
    deep = '{"response_format":{"type":"json_schema","json_schema":{"schema":' + '{"not":' * 300 + "{}" + "}" * 303
    answered = await api.http.post(PATH, content=json.dumps(CHAT)[:-1] + "," + deep[1:])
    assert answered.status_code == 400
    assert error_of(answered)["param"] == "response_format.json_schema.schema"
