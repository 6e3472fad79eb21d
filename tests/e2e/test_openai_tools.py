"""Tools, schemas and stored completions: the OpenAI SDK against the REST port of the real command."""

import json
from collections.abc import Iterator
from typing import Annotated, Literal

import jsonschema
import openai
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageFunctionToolCallParam,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from pydantic import BaseModel, ConfigDict, Field

from e2e.conftest import CALL_TIMEOUT_S, MODEL
from support.serve_process import ServeProcess

pytestmark = pytest.mark.smollm2

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
WEATHER: dict[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TIME: dict[str, object] = {
    "type": "object",
    "properties": {"zone": {"enum": ["UTC", "CET"]}},
    "required": ["zone"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": WEATHER, "get_time": TIME}
TOOLS: list[ChatCompletionToolParam] = [
    {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}
    for name, schema in SCHEMAS.items()
]


class City(BaseModel):
    """What the SDK makes a schema of, and parses the answer into."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=12)]
    size: Literal["small", "large"]
    people: Annotated[int, Field(ge=0, le=99_999_999)]


@pytest.fixture
def sdk(smollm2_command: ServeProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=smollm2_command.url, api_key="-", max_retries=0, timeout=CALL_TIMEOUT_S) as client:
        yield client


def calls_of(completion: ChatCompletion) -> list[tuple[str, object]]:
    """Names and arguments of the calls of the one choice; the arguments match their schemas."""
    calls = []
    for call in completion.choices[0].message.tool_calls or []:
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        arguments = json.loads(call.function.arguments)
        jsonschema.validate(arguments, SCHEMAS[call.function.name])
        calls.append((call.function.name, arguments))
    return calls


def test_a_required_call_is_made_with_valid_arguments(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=1
    )
    (choice,) = completion.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert len(calls_of(completion)) == 1


def test_a_named_function_is_called(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_time"}},
        temperature=2,
        seed=2,
    )
    assert completion.choices[0].finish_reason == "stop"
    assert [name for name, _ in calls_of(completion)] == ["get_time"]


def test_a_streamed_call_folds_into_the_call_of_the_whole_answer(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=4
    )
    with sdk.chat.completions.stream(
        model=MODEL, messages=QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=4
    ) as stream:
        folded = stream.get_final_completion()
    assert calls_of(folded) == calls_of(whole) != []
    assert folded.choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_model_that_may_call_says_by_its_finish_reason_whether_it_did(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, tools=TOOLS, temperature=0, max_completion_tokens=40
    )
    assert (completion.choices[0].finish_reason == "tool_calls") == bool(calls_of(completion))


def test_a_call_and_its_result_go_on_to_an_answer(sdk: openai.OpenAI) -> None:
    arguments = '{"city": "Paris", "unit": "celsius"}'
    call: ChatCompletionMessageFunctionToolCallParam = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments},
    }
    history: list[ChatCompletionMessageParam] = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees and sunny"},
    ]
    completion = sdk.chat.completions.create(
        model=MODEL, messages=history, tools=TOOLS, tool_choice="none", temperature=0, max_completion_tokens=16
    )
    assert completion.choices[0].message.content
    assert completion.choices[0].message.tool_calls is None


def test_an_answer_is_parsed_into_the_type_that_made_the_schema(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "Tell me of Paris."}], response_format=City, n=2, seed=5
    )
    cities = [choice.message.parsed for choice in completion.choices]
    assert [type(city) for city in cities] == [City, City]


def test_a_streamed_answer_is_parsed_too(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me of Paris."}],
        response_format=City,
        temperature=2,
        seed=6,
    ) as stream:
        (choice,) = stream.get_final_completion().choices
    assert isinstance(choice.message.parsed, City)


def test_the_arguments_of_a_call_are_parsed_into_the_type_that_made_the_tool(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Tell me of Paris."}],
        tools=[openai.pydantic_function_tool(City)],
        tool_choice="required",
        parallel_tool_calls=False,
        seed=5,
    )
    (call,) = completion.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, City)


def test_json_mode_gives_an_object(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": 'Write only this JSON: {"city": "Paris"}'}],
        response_format={"type": "json_object"},
        temperature=0,
        max_completion_tokens=200,
    )
    assert completion.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(completion.choices[0].message.content or ""), dict)


def test_a_choice_is_one_of_its_texts(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=2,
        extra_body={"response_format": {"type": "choice", "choice": ["sunny", "rainy"]}},
    )
    assert completion.choices[0].message.content in ("sunny", "rainy")


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_keyword(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="dependentRequired") as caught:
        sdk.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"dependentRequired": {"a": ["b"]}}},
            },
        )
    assert caught.value.param == "response_format.json_schema.schema"


def test_a_stored_completion_is_retrieved(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, store=True, metadata={"run": "7"}, max_completion_tokens=4
    )
    read = sdk.chat.completions.retrieve(answer.id)
    assert (read.id, read.choices, read.usage) == (answer.id, answer.choices, answer.usage)
    assert read.to_dict()["metadata"] == {"run": "7"}
