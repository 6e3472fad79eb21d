"""pydantic-ai: agents with an output type, and with a tool."""

from typing import Any

import pytest
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from sdks.served import MODEL, QUESTION, TIMEOUT_S, URL, City

PROVIDER = OpenAIProvider(base_url=URL, api_key="-")
SETTINGS: dict[str, Any] = {"max_tokens": 80, "seed": 1, "timeout": TIMEOUT_S}


def agent(**fields: Any) -> Any:
    return Agent(OpenAIChatModel(MODEL, provider=PROVIDER), model_settings=SETTINGS, **fields)


@pytest.mark.parametrize("output", [NativeOutput(City), ToolOutput(City)])
async def test_the_output_is_of_its_type(output: Any) -> None:
    result = await agent(output_type=output).run("Tell me of Paris.")
    assert isinstance(result.output, City)
    assert result.usage.output_tokens > 0


async def test_an_output_function_is_called() -> None:
    def look_up(city: City) -> str:
        """The weather of a city."""
        return "It is sunny in Paris."

    result = await agent(output_type=[look_up]).run(QUESTION)
    assert result.output == "It is sunny in Paris."


async def test_a_stream_comes_in_parts() -> None:
    async with agent().run_stream(QUESTION) as result:
        parts = [part async for part in result.stream_text(delta=True, debounce_by=None)]
    assert len(parts) > 3


async def test_the_responses_api_answers() -> None:
    model = OpenAIResponsesModel(MODEL, provider=PROVIDER)
    settings: Any = {"max_tokens": 12, "temperature": 0}
    result = await Agent(model, model_settings=settings).run("What is the capital of France?")
    assert "Paris" in result.output


async def test_an_error_has_its_status_and_body() -> None:
    settings: Any = {"temperature": 3}
    with pytest.raises(ModelHTTPError) as caught:
        await agent().run(QUESTION, model_settings=settings)
    assert caught.value.status_code == 400
    assert "temperature" in str(caught.value.body)
