"""/v1/responses as a stream: which events come in which order, and what they add up to."""

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam

from support.fake_engine import answer, output
from support.responses_api import BODY, PATH, respond, stream, without_ids
from support.rest_api import MODEL, TOKENS, Api, Json, says
from tokenwire.chat.model import ServedModel
from tokenwire.errors import EngineFaultError

SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL: FunctionToolParam = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def kinds(events: list[Json]) -> list[str]:
    """The types of the events; of several deltas behind each other one."""
    found: list[str] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if not (found and found[-1] == kind and kind.endswith(".delta")):
            found.append(kind)
    return found


def added_up(events: list[Json]) -> list[Json]:
    """The output items that the deltas add up to."""
    items: list[Json] = []
    for event in events:
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(items)
                items.append(event["item"])
            case "content_part.added":
                assert event["content_index"] == len(items[-1]["content"])
                items[-1]["content"].append(event["part"])
            case "output_text.delta":
                part = items[event["output_index"]]["content"][event["content_index"]]
                part["text"] += event["delta"]
                part["logprobs"] += event["logprobs"]
            case "reasoning_text.delta":
                items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                items[event["output_index"]]["arguments"] += event["delta"]
        if "item_id" in event:
            assert event["item_id"] == items[event["output_index"]]["id"]
    return items


async def test_a_text_comes_in_the_order_of_openai(api: Api) -> None:
    events = await stream(api)
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    statuses = [event["response"]["status"] for event in events if "response" in event]
    assert statuses == ["in_progress", "in_progress", "completed"]


async def test_calls_come_one_after_the_other(api: Api, rest_model: ServedModel) -> None:
    says(api, rest_model, f"I look.\n{CALL}\n{CALL}")
    found = kinds(await stream(api, tools=[TOOL]))
    call = ["function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    assert found[found.index("content_part.done") :] == [
        "content_part.done",
        "output_item.done",
        *["output_item.added", *call] * 2,
        "completed",
    ]


async def test_reasoning_comes_before_the_text(loading: Api, thinking_model: ServedModel) -> None:
    loading.service.open(thinking_model)
    says(loading, thinking_model, "2 and 2</think>\n\nIt is 4.")
    found = kinds(await stream(loading))
    assert found[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    assert found[8:] == kinds(await stream(loading))[8:]
    assert found[10:] == ["output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("It is warm.", {}),
        ("It is warm.", {"max_output_tokens": 2}),
        ("It is warm.", {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
        ("It is warm.", {"stop": " warm"}),
        ("", {}),
        (CALL, {"tools": [TOOL], "tool_choice": "required"}),
        (f"I look.\n{CALL}\n{CALL}", {"tools": [TOOL], "top_logprobs": 1}),
        (CALL, {"tools": [TOOL], "max_output_tokens": 12}),
        ('{"a": 1}', {"text": {"format": {"type": "json_object"}}}),
    ],
)
async def test_a_stream_adds_up_to_the_whole_answer(api: Api, rest_model: ServedModel, text: str, fields: Json) -> None:
    says(api, rest_model, text)
    events = await stream(api, **fields)
    response = events[-1]["response"]
    assert without_ids(response) == without_ids(await respond(api, **fields))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert response["output"] == done
    assert [{**item, "status": ""} for item in added_up(events)] == [{**item, "status": ""} for item in done]
    assert events[-1]["type"] == f"response.{response['status']}"


async def test_the_sdk_accumulates_a_stream(api: Api, rest_model: ServedModel, sdk: openai.AsyncOpenAI) -> None:
    says(api, rest_model, f"I look.\n{CALL}")
    question: ResponseInputParam = [{"role": "user", "content": "?"}]
    async with sdk.responses.stream(model=MODEL, input=question, tools=[TOOL]) as events:
        snapshots = [event.snapshot async for event in events if event.type == "response.output_text.delta"]
        final = await events.get_final_response()
    assert (snapshots[-1], final.output_text) == ("I look.", "I look.")
    assert [item.type for item in final.output] == ["message", "function_call"]


async def test_the_sdk_reads_the_events_one_by_one(api: Api, sdk: openai.AsyncOpenAI) -> None:
    events = [event async for event in await sdk.responses.create(model=MODEL, input="hello", stream=True)]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text


async def test_a_failure_is_an_error_and_a_failed_response(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], EngineFaultError("the engine died")]
    events = await stream(api)
    error, failed = events[-2:]
    assert (error["type"], error["code"], error["message"]) == ("error", "engine_fault", "the engine died")
    response = failed["response"]
    assert (failed["type"], response["status"]) == ("response.failed", "failed")
    assert response["error"] == {"code": "server_error", "message": "the engine died"}
    assert [item["status"] for item in response["output"]] == ["incomplete"]


async def test_the_text_of_a_defect_never_leaks(api: Api) -> None:
    api.engine.script = [[output(TOKENS[0])], ValueError("a secret")]
    answered = await api.http.post(PATH, json={**BODY, "stream": True}, headers={"x-request-id": "mine"})
    assert "internal error" in answered.text
    assert "a secret" not in answered.text


async def test_nothing_comes_after_the_last_event(api: Api) -> None:
    api.engine.script = answer(TOKENS)
    answered = await api.http.post(PATH, json={**BODY, "stream": True})
    *_, last, rest = answered.text.split("\n\n")
    assert last.startswith("event: response.completed\ndata: ")
    assert rest == ""
