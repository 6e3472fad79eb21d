"""Constrained answers of the real model: of the form that was asked for, whatever else the request says."""

import ast
import asyncio
import json
import re
from typing import Unpack

import pytest
from llguidance import LLMatcher, LLTokenizer

from e2e.conftest import Serving
from support.realistic_schemas import REALISTIC, record, text, whole
from support.schema_judge import SchemaJudge
from tokenwire.v1.chat_pb2 import ChatCompletion, FinishReason, JsonObjectFormat, ResponseFormat
from tokenwire_client import ChatParameters, choice, json_schema, lark, regex
from tokenwire_client.errors import ConstraintFailedError, ConstraintInvalidError

pytestmark = [pytest.mark.smollm2, pytest.mark.asyncio(loop_scope="session")]

STOP = FinishReason.FINISH_REASON_STOP
LENGTH = FinishReason.FINISH_REASON_LENGTH
PERSON = record({"name": text(8), "age": whole(0, 120), "note": {"const": "a, b\n}"}})
SUMS = lark('start: term ("+" term){1,3}\nterm: /[1-9][0-9]{0,2}/ | "(" term ")"')


async def complete(serving: Serving, form: ResponseFormat, **parameters: Unpack[ChatParameters]) -> ChatCompletion:
    """The answer to a chat that does not speak of the form."""
    given: ChatParameters = {"max_completion_tokens": 200, "seed": 1, **parameters, "response_format": form}
    return await serving.client.chat("Tell me about yourself.", **given)


def contents(completion: ChatCompletion) -> list[str]:
    """Of the choices, which all ended by themselves."""
    assert [choice.finish_reason for choice in completion.choices] == [STOP] * len(completion.choices)
    return [choice.content for choice in completion.choices]


async def test_at_temperature_2_four_choices_have_the_form_of_a_regular_expression(smollm2_server: Serving) -> None:
    answers = contents(await complete(smollm2_server, regex("[a-c]{3,5}-(?:é|[0-9]{2})"), temperature=2.0, n=4))
    assert len(answers) == 4
    assert all(re.fullmatch("[a-c]{3,5}-(?:é|[0-9]{2})", answer) for answer in answers)


async def test_at_temperature_2_four_choices_are_sentences_of_a_lark_grammar(smollm2_server: Serving) -> None:
    for answer in contents(await complete(smollm2_server, SUMS, temperature=2.0, n=4)):
        assert re.fullmatch("[0-9+()]+", answer)
        assert 2 <= sum(isinstance(node, ast.Constant) for node in ast.walk(ast.parse(answer, mode="eval"))) <= 4


async def test_at_temperature_2_every_choice_is_one_of_the_options(smollm2_server: Serving) -> None:
    options = ("yes", "no", 'it is "so"', "vielleicht ü 😀", "yes, but")
    answers = contents(await complete(smollm2_server, choice(*options), temperature=2.0, n=8))
    assert set(answers) <= set(options)
    assert len(set(answers)) > 1


async def test_a_json_object_is_one_and_may_be_anything(smollm2_server: Serving) -> None:
    completion = await smollm2_server.client.chat(
        'Write this again: {"name": "Bob", "age": 7}',
        response_format=ResponseFormat(json_object=JsonObjectFormat()),
        n=4,
        temperature=0.7,
        seed=1,
        max_completion_tokens=50,
    )
    answers = [choice.content for choice in completion.choices if choice.finish_reason == STOP]
    assert answers
    assert all(isinstance(json.loads(answer), dict) for answer in answers)


async def test_at_temperature_2_four_choices_match_a_schema(smollm2_server: Serving) -> None:
    schema = REALISTIC["payment"]
    for answer in contents(await complete(smollm2_server, json_schema(schema), temperature=2.0, n=4)):
        assert SchemaJudge(schema).problem(answer) is None


async def test_stop_strings_within_json_do_not_cut_it(smollm2_server: Serving) -> None:
    (answer,) = contents(await complete(smollm2_server, json_schema(PERSON), stop=[",", "}", "\n", "age"]))
    assert SchemaJudge(PERSON).problem(answer) is None


async def test_a_stop_string_ends_an_answer_that_is_complete_before_it(smollm2_server: Serving) -> None:
    completion = await complete(smollm2_server, regex("a,b(?:;a,b){3}(?:;a,b){20}|a,b(?:;a,b){3}"), stop=[";a,b;"])
    assert contents(completion) == ["a,b;a,b;a,b;a,b"]


async def test_a_cut_answer_is_the_beginning_of_a_valid_one(smollm2_server: Serving) -> None:
    completion = await complete(smollm2_server, json_schema(PERSON), max_completion_tokens=7)
    (cut,) = completion.choices
    assert (cut.finish_reason, completion.usage.completion_tokens) == (LENGTH, 7)
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_json_schema(PERSON))
    assert matcher.consume_tokens(list(cut.content.encode()))
    assert not matcher.is_accepting()


async def test_bias_towards_a_token_that_the_schema_has_no_place_for_changes_nothing_of_the_form(
    smollm2_server: Serving,
) -> None:
    token_ids = (await smollm2_server.client.tokenize("###")).token_ids
    completion = await complete(smollm2_server, regex("[a-z ]{1,30}"), logit_bias={token_ids[0]: 100.0})
    assert re.fullmatch("[a-z ]{1,30}", contents(completion)[0])


async def test_bias_against_all_that_the_form_allows_is_an_error_that_says_so(smollm2_server: Serving) -> None:
    token_ids = (await smollm2_server.client.tokenize("x")).token_ids
    with pytest.raises(ConstraintFailedError):
        await complete(smollm2_server, regex("x"), logit_bias={token_ids[0]: -100.0})


async def test_min_tokens_holds_within_the_form_and_an_end_that_is_forced_is_an_end(smollm2_server: Serving) -> None:
    completion = await complete(smollm2_server, regex("[ab]{1,40}"), min_tokens=15)
    assert completion.usage.completion_tokens >= 15
    assert contents(await complete(smollm2_server, choice("one"), min_tokens=20)) == ["one"]


async def test_a_constrained_answer_ends_where_it_is_complete_though_ignore_eos_is_set(smollm2_server: Serving) -> None:
    (answer,) = contents(await complete(smollm2_server, json_schema(PERSON), ignore_eos=True))
    assert SchemaJudge(PERSON).problem(answer) is None


async def test_bytes_of_log_probabilities_join_to_the_text(smollm2_server: Serving) -> None:
    form = json_schema(record({"a": {"const": "日本語 😀 é"}, "b": text(10)}))
    completion = await complete(smollm2_server, form, temperature=2.0, n=2, logprobs=True, top_logprobs=2)
    for answer in completion.choices:
        assert b"".join(entry.bytes for entry in answer.logprobs) == answer.content.encode()


async def test_a_stream_folds_to_the_unary_answer(smollm2_server: Serving) -> None:
    parameters: ChatParameters = {
        "response_format": json_schema(PERSON),
        "seed": 5,
        "n": 2,
        "max_completion_tokens": 200,
    }
    unary = await smollm2_server.client.chat("Who are you?", **parameters)
    updates = [update async for update in smollm2_server.client.stream("Who are you?", **parameters)]
    assert contents(updates[-1].completion) == contents(unary)


async def test_constrained_and_free_answers_in_one_batch_keep_their_forms(smollm2_server: Serving) -> None:
    forms = [json_schema(PERSON), regex("[0-9]{4}"), None, SUMS, choice("yes", "no")]
    alone = await smollm2_server.client.chat("Count: 1, 2,", temperature=0, max_completion_tokens=20)
    together = await asyncio.gather(
        *(
            smollm2_server.client.chat("Count: 1, 2,", temperature=0, max_completion_tokens=20)
            if form is None
            else complete(smollm2_server, form, seed=seed, temperature=2.0)
            for seed, form in enumerate(forms)
        )
    )
    for form, completion in zip(forms, together, strict=True):
        if form is None:
            assert completion.choices[0].content == alone.choices[0].content
        elif form.WhichOneof("format") == "json_schema":
            assert SchemaJudge(PERSON).problem(contents(completion)[0]) is None
        elif form.WhichOneof("format") == "regex":
            assert re.fullmatch("[0-9]{4}", contents(completion)[0])


def chain_of_references(length: int) -> ResponseFormat:
    definitions = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(length)}
    return json_schema({"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{length}": {"type": "null"}}})


HOSTILE = (
    chain_of_references(5000),
    # Repetitions of repetitions, an intersection of patterns, a product of alternatives.
    regex("((((a{1,99}){1,99}){1,99}){1,99}){1,99}"),
    json_schema({"allOf": [{"type": "string", "pattern": f"^(?:.*[a-f]){{{n}}}[^{n}]{{500}}x"} for n in range(3, 9)]}),
    json_schema(
        {"allOf": [{"anyOf": [{"properties": {f"{i}-{j}": {"const": i}}} for j in range(30)]} for i in range(12)]}
    ),
)


async def test_hostile_grammars_are_refused_and_a_stream_beside_them_goes_on(smollm2_server: Serving) -> None:
    parameters: ChatParameters = {"temperature": 0, "max_completion_tokens": 40, "ignore_eos": True}
    stream = smollm2_server.client.stream("Tell me a story.", **parameters)
    await anext(stream)
    refusals = await asyncio.gather(*(complete(smollm2_server, form) for form in HOSTILE), return_exceptions=True)
    for refusal in refusals:
        assert isinstance(refusal, ConstraintInvalidError)
        assert refusal.violations[0].field.startswith("response_format.")
    updates = [update async for update in stream]
    assert updates[-1].completion.usage.completion_tokens == 40
