"""The OpenAI SDK asks again where it may, once the time that the server names is over."""

from typing import Any

import openai
import pytest

from support.rest_api import MODEL, TIMEOUT_S, Api
from tokenwire.chat.model import ServedModel


async def test_a_call_while_the_model_is_loaded_is_answered_after_it(loading: Api, rest_model: ServedModel) -> None:
    answers: list[tuple[int, str | None, str | None]] = []

    async def see(response: Any) -> None:
        retries = response.request.headers["x-stainless-retry-count"]
        answers.append((response.status_code, response.headers.get("retry-after"), retries))
        if len(answers) == 1:
            loading.service.open(rest_model)

    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [see]})
    url = f"{loading.http.base_url}/v1"
    async with openai.AsyncOpenAI(
        base_url=url, api_key="-", max_retries=1, timeout=TIMEOUT_S, http_client=http
    ) as client:
        completion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert completion.choices
    assert answers == [(503, "2", "0"), (200, None, "1")]


async def test_what_is_the_callers_mistake_is_asked_once(api: Api) -> None:
    statuses: list[int] = []

    async def see(response: Any) -> None:
        statuses.append(response.status_code)

    http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [see]})
    url = f"{api.http.base_url}/v1"
    async with openai.AsyncOpenAI(
        base_url=url, api_key="-", max_retries=2, timeout=TIMEOUT_S, http_client=http
    ) as client:
        mistakes: list[dict[str, Any]] = [{"temperature": 3}, {"model": "unknown"}, {"messages": []}]
        for mistake in mistakes:
            asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **mistake}
            with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
                await client.chat.completions.create(**asked)
    assert statuses == [400, 404, 400]
