"""litellm: its functions, and the exceptions that it makes of errors."""

import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch its prices when it is imported

import litellm
import pytest

from sdks.served import MODEL, QUESTION, TIMEOUT_S, URL, City

litellm.telemetry = False


def asked(**fields: Any) -> dict[str, Any]:
    return {
        "model": f"openai/{MODEL}",
        "api_base": URL,
        "api_key": "-",
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 12,
        "timeout": TIMEOUT_S,
        "max_retries": 0,
        **fields,
    }


def test_a_stream_adds_up_to_the_answer() -> None:
    whole = litellm.completion(**asked(seed=3))
    chunks = list(litellm.completion(**asked(seed=3, stream=True, stream_options={"include_usage": True})))
    rebuilt = litellm.stream_chunk_builder(chunks)
    assert len(chunks) > 3
    assert rebuilt.choices[0].message.content == whole.choices[0].message.content != ""
    # The builder looks for the reason in the last chunk, which has the usage.
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert whole.choices[0].finish_reason in reasons
    assert rebuilt.usage.total_tokens == whole.usage.total_tokens > 0


async def test_the_asynchronous_function_answers_alike() -> None:
    whole = litellm.completion(**asked(seed=3))
    answer = await litellm.acompletion(**asked(seed=3))
    assert answer.choices[0].message.content == whole.choices[0].message.content


def test_an_answer_follows_the_schema_of_a_type() -> None:
    answer = litellm.completion(**asked(seed=1, max_tokens=80, response_format=City))
    City.model_validate_json(answer.choices[0].message.content)


def test_a_text_completion_is_one() -> None:
    fields = asked(model=f"text-completion-openai/{MODEL}", prompt="The capital of France is", temperature=0)
    del fields["messages"]
    assert "Paris" in litellm.text_completion(**fields).choices[0].text


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "openai/unknown"}, litellm.NotFoundError),
        ({"temperature": 3}, litellm.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, litellm.ContextWindowExceededError),
    ],
)
def test_errors_are_those_of_litellm(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        litellm.completion(**asked(**fields))
