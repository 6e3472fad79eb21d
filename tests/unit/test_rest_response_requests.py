"""JSON body of a response → contract: the same request as the chat completion that says the same."""

import pytest

from support.rest_api import Json
from tokenwire.errors import ContextLengthError, InvalidRequestError
from tokenwire.rest.chat.requests import parse_chat_request
from tokenwire.rest.responses.requests import ParsedResponse, parse_response_request

QUESTION = {"role": "user", "content": "Weather?"}
BODY: Json = {"model": "m", "input": [QUESTION]}
CHAT: Json = {"model": "m", "messages": [QUESTION]}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
OUTPUT_MESSAGE = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
}
SCHEMA = {"type": "object", "properties": {"z": {"const": 3}, "a": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "It does.", "parameters": SCHEMA, "strict": True}


def parse(**fields: object) -> ParsedResponse:
    return parse_response_request({**BODY, **fields})


def text(*texts: str) -> list[Json]:
    return [{"type": "text", "text": each} for each in texts]


@pytest.mark.parametrize(
    ("fields", "messages"),
    [
        ({"input": "hi"}, [{"role": "user", "content": "hi"}]),
        ({"input": "hi", "instructions": "Be brief."}, [{"role": "system", "content": "Be brief."},
                                                        {"role": "user", "content": "hi"}]),
        ({"input": [{"role": role, "content": "x"} for role in ("developer", "system", "user", "assistant")]},
         [{"role": role, "content": "x"} for role in ("developer", "system", "user", "assistant")]),
        ({"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": each}
                                                                     for each in "ab"]}]},
         [{"role": "user", "content": text("a", "b")}]),
        ({"input": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]},
         [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]),
        ({"input": [REASONING, OUTPUT_MESSAGE, CALL, {**CALL, "call_id": "c2"}]},
         [{"role": "assistant", "reasoning": "Hm.", "content": text("Yes."),
           "tool_calls": [CHAT_CALL, {**CHAT_CALL, "id": "c2"}]}]),
        ({"input": [CALL, {"type": "function_call_output", "call_id": "c1", "output": "22"}]},
         [{"role": "assistant", "tool_calls": [CHAT_CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "22"}]),
        ({"input": [CALL, {"type": "function_call_output", "call_id": "c1",
                           "output": [{"type": "input_text", "text": "22"}]}]},
         [{"role": "assistant", "tool_calls": [CHAT_CALL]},
          {"role": "tool", "tool_call_id": "c1", "content": text("22")}]),
        ({"input": [OUTPUT_MESSAGE, OUTPUT_MESSAGE]}, [{"role": "assistant", "content": text("Yes.")}] * 2),
        ({"input": [CALL, REASONING, CALL | {"call_id": "c2"}]},
         [{"role": "assistant", "tool_calls": [CHAT_CALL]},
          {"role": "assistant", "reasoning": "Hm.", "content": "", "tool_calls": [CHAT_CALL | {"id": "c2"}]}]),
        ({"input": [REASONING, QUESTION]}, [{"role": "assistant", "reasoning": "Hm.", "content": ""}, QUESTION]),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}]},
                    OUTPUT_MESSAGE]}, [{"role": "assistant", "content": text("Yes.")}]),
    ],
)  # fmt: skip
def test_items_are_the_messages_of_a_chat(fields: Json, messages: list[Json]) -> None:
    parsed = parse(**fields)
    assert parsed.message == parse_chat_request({**CHAT, "messages": messages}).message
    assert parsed.ignored_fields == ()


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"temperature": 0.5, "top_p": 0.1, "user": "u", "metadata": {"a": "b"}, "service_tier": "flex"},) * 2,
        ({"seed": 3, "top_k": 2, "stop": "x", "logit_bias": {"1": -5}, "chat_template_kwargs": {"t": True}},) * 2,
        ({"parallel_tool_calls": False},) * 2,
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {"response_format": {"type": "text"}}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
         {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}}),
        ({"text": {"format": {"type": "regex", "regex": "a+"}}}, {"response_format": {"type": "regex", "regex": "a+"}}),
        ({"tools": [{"type": "function", **FUNCTION}]}, {"tools": [{"type": "function", "function": FUNCTION}]}),
        ({"tool_choice": "required"},) * 2,
        ({"tool_choice": {"type": "function", "name": "f"}},
         {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ({"instructions": None, "tools": None, "tool_choice": None, "text": None, "max_output_tokens": None,
          "include": None, "top_logprobs": None, "stream": None, "store": None, "previous_response_id": None,
          "reasoning": None, "temperature": None, "metadata": None}, {}),
        ({"store": False, "background": False, "truncation": "disabled", "reasoning": {"effort": None}, "n": 1,
          "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "safety_identifier": "s",
          "top_logprobs": 0, "prompt_cache_options": {"mode": "implicit"}}, {}),
    ],
)  # fmt: skip
def test_parameters_are_those_of_a_chat(fields: Json, chat: Json) -> None:
    parsed = parse(**fields)
    assert parsed.message == parse_chat_request({**CHAT, **chat}).message
    assert parsed.ignored_fields == ()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": 3}, "input", "invalid_type"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"model": None}, "model", "missing_required_parameter"),
        ({"instructions": []}, "instructions", "invalid_type"),
        ({"input": ["x"]}, "input[0]", "invalid_type"),
        ({"input": [{"content": "x"}]}, "input[0].role", "missing_required_parameter"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [QUESTION, {"role": "user", "content": 3}]}, "input[1].content", "invalid_type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "missing_required_parameter",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type", "unsupported_parameter"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type", "invalid_value"),
        ({"input": [{**CALL, "name": None}]}, "input[0].name", "missing_required_parameter"),
        ({"input": [{**CALL, "call_id": 3}]}, "input[0].call_id", "invalid_type"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c1"}]},
            "input[0].output",
            "missing_required_parameter",
        ),
        ({"input": [{**REASONING, "encrypted_content": "x"}]}, "input[0].encrypted_content", "unsupported_parameter"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        ({"text": {"format": {}}}, "text.format.type", "missing_required_parameter"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": "x"}}},
            "text.format.schema",
            "invalid_type",
        ),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"tools": [{"type": "function", "name": 3}]}, "tools[0].name", "invalid_type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": ["f"]}, "tools[0]", "invalid_type"),
        ({"text": {"format": "json"}}, "text.format", "invalid_type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name", "missing_required_parameter"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type", "unsupported_parameter"),
        ({"tool_choice": "maybe"}, "tool_choice", "invalid_value"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"max_output_tokens": "5"}, "max_output_tokens", "invalid_type"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_parameter_combination"),
        ({"store": True}, "store", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"background": True}, "background", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"max_tool_calls": 1}, "max_tool_calls", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "unsupported_parameter"),
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"max_tokens": 5}, "max_tokens", "unsupported_parameter"),
        ({"messages": [QUESTION]}, "messages", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
    ],
)
def test_what_is_wrong_is_named_as_in_the_body(fields: Json, param: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(**fields)
    (violation,) = caught.value.violations
    assert (violation.field, violation.code) == (param, code)
    assert f"`{param}`" in violation.description


def test_tools_are_counted_as_in_the_body() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(tools=[{"type": "web_search"}, {"type": "function", "name": "f", "parameters": 3}])
    assert [each.field for each in caught.value.violations] == ["tools[0].type", "tools[1].parameters"]


def test_fields_that_nobody_knows_are_named() -> None:
    parsed = parse(
        zz=1,
        input=[{**QUESTION, "mood": "good"}],
        reasoning={"depth": 1},
        text={"format": {"type": "json_schema", "schema": {}, "x": 1}, "y": 2},
        tools=[{"type": "function", "name": "f", "color": "red"}],
    )
    assert set(parsed.ignored_fields) == {
        "zz",
        "input[0].mood",
        "reasoning.depth",
        "text.format.x",
        "text.y",
        "tools[0].color",
    }


def test_a_prompt_that_is_too_long_is_the_input() -> None:
    error = ContextLengthError(prompt_tokens=9, max_completion_tokens=8, context_length=10)
    told = parse().in_body_terms(error)
    assert isinstance(told, InvalidRequestError)
    (violation,) = told.violations
    assert (violation.field, violation.code) == ("input", "context_length_exceeded")
    assert "`max_output_tokens` is 8" in violation.description
