"""langchain-openai: ChatOpenAI."""

from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI

from sdks.served import MODEL, QUESTION, TIMEOUT_S, URL, City


def chat(**fields: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=URL, api_key="-", model=MODEL, timeout=TIMEOUT_S, max_retries=0, **{"max_tokens": 12, **fields}
    )


def test_an_answer_has_usage_and_a_reason() -> None:
    answer = chat(temperature=0).invoke("What is the capital of France?")
    assert "Paris" in answer.content
    assert answer.usage_metadata["total_tokens"] == sum(
        answer.usage_metadata[part] for part in ("input_tokens", "output_tokens")
    )
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.response_metadata["model_name"] == MODEL


def test_a_stream_adds_up_to_the_answer() -> None:
    whole = chat(seed=3).invoke(QUESTION)
    chunks = list(chat(seed=3, stream_usage=True).stream(QUESTION))
    assert len(chunks) > 3
    total = sum(chunks[1:], start=chunks[0])
    assert isinstance(total, AIMessageChunk)
    assert total.content == whole.content
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


def test_a_tool_is_called() -> None:
    tools = chat(seed=1, max_tokens=80).bind_tools(
        [City], tool_choice="required", strict=True, parallel_tool_calls=False
    )
    answer = tools.invoke("Tell me of Paris.")
    (call,) = answer.tool_calls
    assert call["name"] == "City"
    City.model_validate(call["args"])
    assert answer.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_output_is_of_its_type(method: str) -> None:
    city = chat(seed=1, max_tokens=80).with_structured_output(City, method=method).invoke("Tell me of Paris.")
    assert isinstance(city, City)


def test_a_batch_is_answered_in_order() -> None:
    questions = ["What is the capital of France?", "What is the capital of Italy?"]
    answers = chat(temperature=0).batch(questions)
    assert [answer.content for answer in answers] == [chat(temperature=0).invoke(each).content for each in questions]


async def test_an_asynchronous_stream_comes_in_parts() -> None:
    chunks = [chunk async for chunk in chat(seed=3).astream(QUESTION)]
    assert len(chunks) > 3


def test_log_probabilities_come_along() -> None:
    answer = chat(seed=3, logprobs=True, top_logprobs=2).invoke(QUESTION)
    entries = answer.response_metadata["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == answer.content


def test_a_wrong_parameter_raises() -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(temperature=3).invoke(QUESTION)
    assert caught.value.param == "temperature"
