"""Tools and reasoning through REST: what the scripted model writes, as the OpenAI SDK reads it."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from support.rest_api import MODEL, Api, Json, choices_of, says
from tokenwire.chat.model import ServedModel

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Weather in Paris?"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ARGUMENTS = '{"city": "Paris"}'
CALL = '<tool_call>\n{"name": "get_weather", "arguments": ' + ARGUMENTS + "}\n</tool_call>"


def message_of(body: Json) -> Json:
    message = choices_of(body)[0]["message"]
    assert isinstance(message, dict)
    return message


async def test_a_required_call_is_the_whole_answer(api: Api, rest_model: ServedModel) -> None:
    says(api, rest_model, CALL)
    body = await api.chat(tools=[TOOL], tool_choice="required")
    message = message_of(body)
    (call,) = message["tool_calls"]
    assert (message["content"], choices_of(body)[0]["finish_reason"]) == (None, "tool_calls")
    assert (call["type"], call["function"]) == ("function", {"name": "get_weather", "arguments": ARGUMENTS})
    assert call["id"]
    assert api.engine.requests[0].sampling.grammar is not None


async def test_a_model_that_may_call_can_talk_before_or_instead(api: Api, rest_model: ServedModel) -> None:
    says(api, rest_model, f"I look.\n{CALL}")
    message = message_of(await api.chat(tools=[TOOL]))
    assert (message["content"], len(message["tool_calls"])) == ("I look.", 1)
    says(api, rest_model, "It is sunny.")
    message = message_of(await api.chat(tools=[TOOL], tool_choice="auto"))
    assert message == {"role": "assistant", "content": "It is sunny.", "refusal": None}


async def test_the_call_of_a_named_function_finishes_with_stop(api: Api, rest_model: ServedModel) -> None:
    says(api, rest_model, CALL)
    named = {"type": "function", "function": {"name": "get_weather"}}
    (choice,) = choices_of(await api.chat(tools=[TOOL], tool_choice=named))
    assert choice["finish_reason"] == "stop"
    assert len(choice["message"]["tool_calls"]) == 1


async def test_streamed_calls_have_index_id_and_name_and_then_arguments(api: Api, rest_model: ServedModel) -> None:
    says(api, rest_model, f"{CALL}\n{CALL}")
    chunks = await api.chunks(tools=[TOOL])
    deltas = [choice["delta"] for chunk in chunks for choice in choices_of(chunk)]
    parts = [part for delta in deltas if isinstance(delta, dict) for part in delta.get("tool_calls", [])]
    for index in range(2):
        first, *others = [part for part in parts if part["index"] == index]
        assert (first["type"], first["function"]["name"]) == ("function", "get_weather")
        assert first["id"]
        assert all(set(part) == {"index", "function"} and set(part["function"]) == {"arguments"} for part in others)
        assert "".join(part["function"]["arguments"] for part in (first, *others)) == ARGUMENTS
    assert choices_of(chunks[-1])[0]["finish_reason"] == "tool_calls"


async def test_the_sdk_folds_a_stream_of_calls(api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI) -> None:
    says(api, rest_model, f"{CALL}\n{CALL}")
    async with sdk.chat.completions.stream(model=MODEL, messages=QUESTION, tools=[TOOL]) as stream:
        (choice,) = (await stream.get_final_completion()).choices
    calls = choice.message.tool_calls
    assert calls is not None
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("get_weather", {"city": "Paris"})
    ] * 2
    assert len({call.id for call in calls}) == 2


async def test_a_call_and_its_result_can_be_sent_back(
    api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI
) -> None:
    says(api, rest_model, CALL)
    first = await sdk.chat.completions.create(model=MODEL, messages=QUESTION, tools=[TOOL])
    message = first.choices[0].message
    assert message.tool_calls is not None
    history: list[ChatCompletionMessageParam] = [
        *QUESTION,
        message.to_dict(),  # type: ignore[list-item]
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "22 degrees"},
    ]
    says(api, rest_model, "It is warm.")
    second = await sdk.chat.completions.create(model=MODEL, messages=history, tools=[TOOL])
    assert second.choices[0].message.content == "It is warm."
    prompt = rest_model.tokenizer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=True)
    assert "22 degrees" in prompt
    assert ARGUMENTS in prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [TOOL, {"type": "function", "function": {"name": ""}}]}, "tools[1].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "["}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ],
)
async def test_what_is_wrong_with_tools_is_named_as_in_the_body(api: Api, fields: Json, param: str) -> None:
    error = await api.refusal(400, **fields)
    assert error["param"] == param
    assert f"`{param}`" in str(error["message"])


async def test_reasoning_stands_beside_the_content_and_is_counted(loading: Api, thinking_model: ServedModel) -> None:
    loading.service.open(thinking_model)
    says(loading, thinking_model, "2 and 2</think>\n\nIt is 4.")
    body = await loading.chat()
    message, usage = message_of(body), body["usage"]
    assert (message["reasoning_content"], message["content"]) == ("2 and 2", "It is 4.")
    assert isinstance(usage, dict)
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]


async def test_streamed_reasoning_comes_before_the_content(loading: Api, thinking_model: ServedModel) -> None:
    loading.service.open(thinking_model)
    says(loading, thinking_model, "2 and 2</think>\n\nIt is 4.")
    deltas = [choice["delta"] for chunk in await loading.chunks() for choice in choices_of(chunk)][1:-1]
    kinds = [next(iter(delta)) for delta in deltas if isinstance(delta, dict)]
    assert kinds == sorted(kinds, reverse=True)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "2 and 2"
    assert "".join(delta.get("content", "") for delta in deltas) == "It is 4."
