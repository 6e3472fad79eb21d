"""The OpenAI SDK against the REST port of the real command."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionContentPartImageParam, ChatCompletionUserMessageParam

from e2e.conftest import CALL_TIMEOUT_S, MODEL
from support.serve_process import ServeProcess

pytestmark = pytest.mark.smollm2

QUESTION: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def sdk(smollm2_command: ServeProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=smollm2_command.url, api_key="-", max_retries=0, timeout=CALL_TIMEOUT_S) as client:
        yield client


def test_an_answer_comes_whole(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=12)
    (choice,) = completion.choices
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason in ("stop", "length")
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


def test_an_answer_is_streamed_with_its_usage_at_the_end(sdk: openai.OpenAI) -> None:
    whole = sdk.chat.completions.create(model=MODEL, messages=QUESTION, seed=5, max_completion_tokens=16)
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        seed=5,
        max_completion_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content != ""
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_log_probabilities_come_with_their_alternatives(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=6, logprobs=True, top_logprobs=2
    )
    (choice,) = completion.choices
    assert choice.logprobs is not None
    entries = choice.logprobs.content
    assert entries is not None
    assert "".join(entry.token for entry in entries) == choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 2
        assert (entry.token, entry.logprob) == (entry.top_logprobs[0].token, entry.top_logprobs[0].logprob)


def test_several_choices_differ(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(model=MODEL, messages=QUESTION, n=2, seed=3, max_completion_tokens=16)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert completion.choices[0].message.content != completion.choices[1].message.content


def test_a_stop_string_ends_the_answer_before_it(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=12, stop="Paris"
    )
    (choice,) = completion.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content is not None
    assert "capital" in choice.message.content
    assert "Par" not in choice.message.content


def test_extensions_pass_through_the_extra_body(sdk: openai.OpenAI) -> None:
    completion = sdk.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=12,
        extra_body={"bad_words": ["Paris"], "prompt_logprobs": 1},
    )
    assert "Paris" not in (completion.choices[0].message.content or "")
    prompt_logprobs = (completion.model_extra or {})["prompt_logprobs"]
    assert completion.usage is not None
    assert len(prompt_logprobs) == completion.usage.prompt_tokens - 1
    assert all(entry["logprob"] <= entry["top_logprobs"][0]["logprob"] <= 0 for entry in prompt_logprobs)


def test_a_wrong_parameter_raises_with_its_name(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\[0, 2\]; got 3") as caught:
        sdk.chat.completions.create(model=MODEL, messages=QUESTION, temperature=3)
    assert caught.value.param == "temperature"


def test_an_unknown_model_raises(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model="gpt-2", messages=QUESTION)
    assert caught.value.code == "model_not_found"


def test_the_model_is_listed(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]


def test_an_image_is_refused_by_its_place(sdk: openai.OpenAI) -> None:
    image: ChatCompletionContentPartImageParam = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA=="},
    }
    with pytest.raises(openai.BadRequestError, match="image") as caught:
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [image]}])
    assert (caught.value.param or "").startswith("messages[0].content[0]")


def test_every_answer_has_the_id_of_its_request(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, max_completion_tokens=2)
    assert raw.parse()._request_id == raw.headers["x-request-id"] != ""


def test_a_timeout_of_the_client_raises_and_the_next_call_is_answered(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        sdk.with_options(timeout=0.2).chat.completions.create(
            model=MODEL, messages=QUESTION, max_completion_tokens=2000, extra_body={"ignore_eos": True}
        )
    assert sdk.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=2).choices


async def test_the_async_stream_helper_folds_the_stream(smollm2_command: ServeProcess) -> None:
    url = smollm2_command.url
    async with openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0, timeout=CALL_TIMEOUT_S) as sdk:
        whole = await sdk.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, logprobs=True)
        async with sdk.chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0, logprobs=True) as stream:
            kinds = {event.type async for event in stream}
            folded = await stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done", "logprobs.content.delta"} <= kinds
    assert folded.choices[0].message.content == whole.choices[0].message.content
    assert folded.choices[0].logprobs == whole.choices[0].logprobs


async def test_the_async_client_streams(smollm2_command: ServeProcess) -> None:
    async with openai.AsyncOpenAI(
        base_url=smollm2_command.url, api_key="-", max_retries=0, timeout=CALL_TIMEOUT_S
    ) as sdk:
        stream = await sdk.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_completion_tokens=12, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert "Paris" in text
