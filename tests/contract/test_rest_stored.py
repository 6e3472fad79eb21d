"""Stored completions, labels and urgency through REST."""

import asyncio
from contextlib import aclosing

import httpx
import openai
import pytest

from support.fake_engine import output
from support.rest_api import MODEL, PATH, Api, choices_of, error_of
from support.streams import detached
from tokenwire.engine.protocol import FinishReason


async def test_a_stored_completion_can_be_read_again(api: Api) -> None:
    answer = await api.chat(store=True, metadata={"run": "7"}, user="somebody", logprobs=True)
    read = (await api.http.get(f"{PATH}/{answer['id']}")).json()
    extension = read.pop("tokenwire")
    assert read == {**{name: value for name, value in answer.items() if name != "tokenwire"}, "metadata": {"run": "7"}}
    assert extension["user"] == "somebody"
    assert extension["expires_at"] > answer["created"]


async def test_a_streamed_completion_is_stored_too(api: Api) -> None:
    chunks = await api.chunks(store=True)
    text = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in choices_of(chunk))
    read = (await api.http.get(f"{PATH}/{chunks[0]['id']}")).json()
    assert choices_of(read)[0]["message"] == {"role": "assistant", "content": text, "refusal": None}


async def test_a_live_completion_is_read_as_far_as_it_has_come(api: Api) -> None:
    gate = asyncio.Event()
    api.engine.script = [[output(300)], gate, [output(301, finish=FinishReason.LENGTH)]]
    async with aclosing(api.service.stream(detached(model=MODEL))) as events:
        started, _ = [await anext(events) for _ in range(2)]
        live = (await api.http.get(f"{PATH}/{started.started.id}")).json()
        gate.set()
    assert (live["tokenwire"]["state"], live["tokenwire"]["expires_at"]) == ("running", None)
    assert choices_of(live)[0]["finish_reason"] is None
    assert live["usage"]["completion_tokens"] == 1


async def test_the_sdk_retrieves_a_stored_completion(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], store=True, n=2
    )
    read = await sdk.chat.completions.retrieve(answer.id)
    assert (read.id, read.choices, read.usage) == (answer.id, answer.choices, answer.usage)


async def test_what_is_not_stored_is_not_found(api: Api, sdk: openai.AsyncOpenAI) -> None:
    answer = await api.chat(store=False)
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.retrieve(str(answer["id"]))
    assert missing.value.code == "completion_not_found"


@pytest.mark.parametrize(("method", "path"), [("DELETE", f"{PATH}/chatcmpl-1"), ("POST", f"{PATH}/x"), ("GET", PATH)])
async def test_stored_completions_are_neither_listed_nor_changed(api: Api, method: str, path: str) -> None:
    answered: httpx.Response = await api.http.request(method, path)
    assert (answered.status_code, error_of(answered)["code"]) == (405, "method_not_supported")


@pytest.mark.parametrize(
    ("asked", "told", "priority"),
    [(None, "default", 0), ("auto", "default", 0), ("flex", "flex", -10), ("priority", "priority", 10)],
)
async def test_the_answer_says_which_tier_it_ran_in(api: Api, asked: str | None, told: str, priority: int) -> None:
    assert (await api.chat(service_tier=asked))["service_tier"] == told
    assert {chunk["service_tier"] for chunk in await api.chunks(service_tier=asked)} == {told}
    assert {request.priority for request in api.engine.requests} == {priority}


async def test_a_priority_of_its_own_goes_before_the_tier(api: Api) -> None:
    assert (await api.chat(service_tier="flex", priority=50))["service_tier"] == "flex"
    assert api.engine.requests[0].priority == 50
    assert (await api.refusal(400, priority=101))["param"] == "priority"


async def test_bad_labels_are_refused_by_name(api: Api) -> None:
    assert (await api.refusal(400, user="x" * 257))["param"] == "user"
    assert (await api.refusal(400, metadata={"a": "x" * 513}))["param"] == "metadata[a]"
