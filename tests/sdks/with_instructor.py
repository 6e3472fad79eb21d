"""instructor: answers of a type, by a schema and by a tool."""

import instructor
import openai
import pytest
from instructor import Mode

from sdks.served import MODEL, TIMEOUT_S, URL, City


@pytest.mark.parametrize("mode", [Mode.JSON_SCHEMA, Mode.TOOLS])
def test_an_answer_is_of_its_type(mode: Mode) -> None:
    with openai.OpenAI(base_url=URL, api_key="-", timeout=TIMEOUT_S, max_retries=0) as sdk:
        city = instructor.from_openai(sdk, mode=mode).chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell me of Paris."}],
            response_model=City,
            max_retries=0,
            max_tokens=80,
            seed=1,
        )
    assert isinstance(city, City)


async def test_the_asynchronous_client_answers_too() -> None:
    async with openai.AsyncOpenAI(base_url=URL, api_key="-", timeout=TIMEOUT_S, max_retries=0) as sdk:
        client = instructor.from_openai(sdk, mode=Mode.JSON_SCHEMA)
        city = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell me of Rome."}],
            response_model=City,
            max_retries=0,
            max_tokens=80,
            seed=2,
        )
    assert isinstance(city, City)
