"""/v1/responses: whole answers, as raw HTTP and as the OpenAI SDK read them."""

import asyncio
import json
from collections.abc import Sequence

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam
from pydantic import BaseModel

from support.fake_engine import answer, output
from support.responses_api import BODY, PATH, respond
from support.rest_api import MODEL, TIMEOUT_S, TOKENS, Api, Json, error_of, says
from tokenwire.chat.model import ServedModel
from tokenwire.errors import EngineFaultError

SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": SCHEMA,
    "strict": False,
}
ARGUMENTS = '{"city": "Paris"}'
CALL = '<tool_call>\n{"name": "get_weather", "arguments": ' + ARGUMENTS + "}\n</tool_call>"

# As OpenAI's schema requires them, and those of all its answers.
KEYS = [
    "background", "completed_at", "created_at", "error", "id", "incomplete_details", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "object", "output", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "status",
    "store", "temperature", "text", "tokenwire", "tool_choice", "tools", "top_logprobs", "top_p", "truncation",
    "usage",
]  # fmt: skip


class City(BaseModel):
    """What the SDK makes a schema of."""

    name: str
    people: int


async def test_a_text_is_one_message(api: Api) -> None:
    body = await respond(api)
    assert sorted(body) == KEYS
    assert (body["object"], body["status"], body["error"], body["store"]) == ("response", "completed", None, False)
    (item,) = body["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    (part,) = item["content"]
    assert part == {"type": "output_text", "text": part["text"], "annotations": [], "logprobs": []}
    assert part["text"]
    assert (body["id"][:5], item["id"][:4]) == ("resp_", "msg_")


async def test_the_text_and_the_usage_are_those_of_a_chat(api: Api) -> None:
    body, chat = await respond(api), await api.chat()
    assert body["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    usage = chat["usage"]
    assert body["usage"] == {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
    assert body["tokenwire"]["parameters"] == chat["tokenwire"]["parameters"]
    assert api.engine.requests[0].prompt_token_ids == api.engine.requests[1].prompt_token_ids


async def test_the_request_is_repeated_with_its_defaults(api: Api) -> None:
    asked: Json = {
        "instructions": "Be brief.",
        "max_output_tokens": 2,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "safety_identifier": "s",
        "temperature": 0.5,
        "tool_choice": "none",
        "tools": [TOOL],
        "top_logprobs": 1,
        "top_p": 0.25,
        "user": "u",
    }
    body = await respond(api, **asked)
    assert {name: body[name] for name in asked} == asked
    body = await respond(api, tools=[{"type": "function", "name": "f"}])
    defaults = {"type": "function", "name": "f", "description": None, "parameters": None, "strict": False}
    assert (body["tools"], body["tool_choice"], body["temperature"]) == ([defaults], "auto", 1.0)
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "medium"}


async def test_what_the_limit_cuts_is_incomplete(api: Api) -> None:
    body = await respond(api, max_output_tokens=2)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (body["output"][0]["status"], body["completed_at"]) == ("incomplete", None)


async def test_an_answer_without_text_is_an_empty_message(api: Api) -> None:
    api.engine.script = answer([2])
    (item,) = (await respond(api))["output"]
    assert [part["text"] for part in item["content"]] == [""]


async def test_log_probabilities_are_in_the_text_if_asked(api: Api) -> None:
    body = await respond(api, include=["message.output_text.logprobs"], top_logprobs=2)
    chat = await api.chat(logprobs=True, top_logprobs=2)
    logprobs = chat["choices"][0]["logprobs"]["content"]
    assert body["output"][0]["content"][0]["logprobs"] == logprobs
    assert [len(token["top_logprobs"]) for token in logprobs] == [2] * len(TOKENS)


async def test_the_sdk_reads_an_answer(api: Api, sdk: openai.AsyncOpenAI) -> None:
    response = await sdk.responses.create(model=MODEL, input="hello", instructions="Be brief.")
    assert response.output_text == (await api.chat())["choices"][0]["message"]["content"]
    assert response.usage is not None
    assert response.usage.output_tokens == len(TOKENS)


async def test_the_sdk_parses_an_answer_into_the_type_that_made_the_schema(
    api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI
) -> None:
    says(api, rest_model, '{"name": "Paris", "people": 2000000}')
    response = await sdk.responses.parse(model=MODEL, input="Paris?", text_format=City)
    assert response.output_parsed == City(name="Paris", people=2000000)
    assert api.engine.requests[0].sampling.grammar is not None


async def test_a_call_and_its_result_can_be_sent_back(
    api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI
) -> None:
    says(api, rest_model, f"I look.\n{CALL}")
    conversation: ResponseInputParam = [{"role": "user", "content": "Weather in Paris?"}]
    first = await sdk.responses.create(model=MODEL, input=conversation, tools=[TOOL])
    message, call = first.output
    assert (message.type, call.type, first.output_text) == ("message", "function_call", "I look.")
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments), call.status) == ("get_weather", {"city": "Paris"}, "completed")
    conversation += first.output  # type: ignore[arg-type]  # OpenAI's guide does it so
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "22 degrees"})
    says(api, rest_model, "It is warm.")
    second = await sdk.responses.create(model=MODEL, input=conversation, tools=[TOOL])
    assert second.output_text == "It is warm."
    prompt = rest_model.tokenizer.decode(api.engine.requests[-1].prompt_token_ids, skip_special_tokens=True)
    assert prompt.index("I look.") < prompt.index(ARGUMENTS) < prompt.index("22 degrees")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
async def test_calls_that_must_be_made_are_the_whole_output(api: Api, rest_model: ServedModel, choice: object) -> None:
    says(api, rest_model, CALL)
    body = await respond(api, tools=[TOOL], tool_choice=choice)
    (call,) = body["output"]
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "get_weather", ARGUMENTS)
    assert (body["status"], body["tool_choice"]) == ("completed", choice)
    assert call["id"] != call["call_id"]


async def test_reasoning_is_an_item_before_the_message(loading: Api, thinking_model: ServedModel) -> None:
    loading.service.open(thinking_model)
    says(loading, thinking_model, "2 and 2</think>\n\nIt is 4.")
    body = await respond(loading, top_logprobs=1)
    reasoning, message = body["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "2 and 2"}]
    assert (reasoning["type"], reasoning["summary"]) == ("reasoning", [])
    (part,) = message["content"]
    assert part["text"] == "It is 4."
    assert bytes(byte for token in part["logprobs"] for byte in token["bytes"]) == b"It is 4."
    assert body["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


REFUSED: Sequence[tuple[Json, str, str]] = (
    ({"temperature": 3}, "temperature", "decimal_above_max_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
    ({"input": []}, "input", "empty_array"),
    ({"input": [{"role": "user", "content": []}]}, "input[0].content", "empty_array"),
    ({"instructions": "x", "input": [{"role": "user", "content": []}]}, "input[0].content", "empty_array"),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "["}]},
        "input[0].arguments",
        "invalid_value",
    ),
    (
        {"input": [{"type": "function_call", "call_id": "c", "name": "?", "arguments": "{}"}]},
        "input[0].name",
        "invalid_value",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        "input[0].call_id",
        "invalid_value",
    ),
    ({"input": "x" * 3000}, "input", "context_length_exceeded"),
    ({"tools": [{"type": "function", "name": "?"}]}, "tools[0].name", "invalid_value"),
    (
        {"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]},
        "tools[0].parameters",
        "invalid_value",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name", "invalid_value"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_parameter_combination"),
    (
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"uniqueItems": True}}}},
        "text.format.schema",
        "invalid_value",
    ),
    (
        {"text": {"format": {"type": "json_schema", "name": "n"}}},
        "text.format.schema",
        "missing_required_parameter",
    ),
    ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    ({"model": "other"}, "model", "model_not_found"),
)


async def test_a_refusal_names_the_place_in_the_body(api: Api) -> None:
    for fields, param, code in REFUSED:
        answered = await api.http.post(PATH, json={**BODY, **fields})
        error = error_of(answered)
        assert answered.status_code == (404 if param == "model" else 400)
        assert (error["param"], error["code"]) == (param, code)
        assert error["type"] == "invalid_request_error"


async def test_a_limit_that_another_parameter_breaks_has_its_name_here(api: Api) -> None:
    answered = await api.http.post(PATH, json={**BODY, "min_tokens": 5, "max_output_tokens": 2})
    error = error_of(answered)
    assert error["param"] == "min_tokens"
    assert "`max_output_tokens`" in error["message"]


async def test_a_refused_stream_is_a_plain_http_error(api: Api) -> None:
    answered = await api.http.post(PATH, json={**BODY, "stream": True, "max_output_tokens": 0})
    assert (answered.status_code, error_of(answered)["param"]) == (400, "max_output_tokens")


async def test_a_model_that_loads_is_503(loading: Api) -> None:
    answered = await loading.http.post(PATH, json=BODY)
    assert (answered.status_code, error_of(answered)["code"]) == (503, "model_loading")
    assert int(answered.headers["retry-after"]) > 0


async def test_a_fault_is_500(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], EngineFaultError("the engine died")]
    answered = await api.http.post(PATH, json=BODY)
    assert (answered.status_code, error_of(answered)["code"]) == (500, "engine_fault")


async def test_fields_that_nobody_knows_are_in_a_header(api: Api) -> None:
    answered = await api.http.post(PATH, json={**BODY, "zz": 1, "text": {"y": 2}})
    assert answered.status_code == 200
    assert sorted(answered.headers["x-tokenwire-ignored-fields"].split(", ")) == ["text.y", "zz"]


async def test_a_client_that_leaves_before_the_answer_frees_the_engine(api: Api) -> None:
    reached = asyncio.Event()

    def script(request: object) -> list[asyncio.Event]:
        reached.set()
        return [asyncio.Event()]

    api.engine.script = script
    call = asyncio.create_task(api.http.post(PATH, json=BODY))
    await asyncio.wait_for(reached.wait(), TIMEOUT_S)
    call.cancel()
    await asyncio.wait_for(api.service.wait_idle(), TIMEOUT_S)
    assert [index for _, index in api.engine.aborts] == [None]
