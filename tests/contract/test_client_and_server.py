"""The client and the real server, with the scripted engine."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.fake_engine import FakeEngine, output
from tokenwire.engine.protocol import FinishReason
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ServiceTier
from tokenwire_client import (
    AsyncClient,
    Client,
    CompletionNotFoundError,
    ConstraintFailedError,
    ConstraintInvalidError,
    ContextLengthError,
    InvalidRequestError,
    ModelNotFoundError,
    json_schema,
    regex,
)


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    """A client of the server."""
    async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=20) as client:
        yield client


async def test_the_folded_stream_is_the_unary_answer(client: AsyncClient) -> None:
    updates = [update async for update in client.stream("hi", seed=7)]
    streamed, whole = updates[-1].completion, await client.chat("hi", seed=7)
    assert "".join(update.text for update in updates) == whole.choices[0].content != ""
    assert streamed.usage == whole.usage
    assert streamed.choices == whole.choices


async def test_the_sync_client_gets_the_same(client: AsyncClient, server: Server) -> None:
    def chat() -> str:
        with Client(f"127.0.0.1:{server.port}", timeout_s=20) as sync:
            return "".join(update.text for update in sync.stream("hi", seed=7))

    assert await asyncio.to_thread(chat) == (await client.chat("hi", seed=7)).choices[0].content


async def test_every_violation_comes_in_one_error(client: AsyncClient) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await client.chat("hi", temperature=3, top_p=-1)
    assert {violation.field for violation in caught.value.violations} == {"temperature", "top_p"}


async def test_a_prompt_that_is_too_long_tells_both_numbers(client: AsyncClient) -> None:
    counted = await client.count_tokens("word " * 2000)
    with pytest.raises(ContextLengthError) as caught:
        await client.chat("word " * 2000)
    assert caught.value.metadata["prompt_tokens"] == str(counted.prompt_tokens)
    assert caught.value.metadata["context_length"] == str(counted.context_length)


async def test_an_unknown_model_is_named(client: AsyncClient) -> None:
    with pytest.raises(ModelNotFoundError, match="gpt-2"):
        await client.chat("hi", model="gpt-2")


async def test_text_goes_to_tokens_and_back(client: AsyncClient) -> None:
    tokens = await client.tokenize("hello there")
    assert (await client.detokenize(tokens.token_ids)).text == "hello there"
    assert b"".join(tokens.token_bytes) == b"hello there"


async def test_the_rendered_prompt_has_as_many_tokens_as_are_counted(client: AsyncClient) -> None:
    rendered = await client.render_prompt("hi")
    assert "hi" in rendered.prompt
    assert len(rendered.token_ids) == (await client.count_tokens("hi")).prompt_tokens


async def test_health_and_model_are_told(client: AsyncClient) -> None:
    assert await client.health() == "SERVING"
    assert (await client.model()).id == (await client.models())[0].id


async def test_a_stored_completion_is_the_answer_with_its_labels(client: AsyncClient) -> None:
    completion = await client.chat("hi", store=True, metadata={"team": "blue"}, user="ann", service_tier="flex")
    stored = await client.completion(completion.id)
    assert (stored.completion, dict(stored.metadata), stored.user) == (completion, {"team": "blue"}, "ann")
    assert stored.expire_time.ToDatetime() > completion.created.ToDatetime()
    assert completion.service_tier == ServiceTier.SERVICE_TIER_FLEX


async def test_a_streamed_completion_is_stored_too(client: AsyncClient) -> None:
    *_, last = [update.completion async for update in client.stream("hi", store=True)]
    assert (await client.completion(last.id)).completion == last


async def test_a_completion_that_is_not_known_is_named(client: AsyncClient) -> None:
    with pytest.raises(CompletionNotFoundError, match="chatcmpl-9"):
        await client.completion("chatcmpl-9")


async def test_a_form_that_the_engine_refuses_is_told_with_its_field(client: AsyncClient, engine: FakeEngine) -> None:
    engine.refusal = lambda grammar: "too clever"
    with pytest.raises(ConstraintInvalidError) as caught:
        await client.chat("hi", response_format=regex("a+"))
    (violation,) = caught.value.violations
    assert violation.field == "response_format.regex"
    assert "too clever" in violation.description


async def test_the_engine_gets_the_grammar_that_is_shown_beside_the_prompt(
    client: AsyncClient, engine: FakeEngine
) -> None:
    schema = json_schema({"type": "object", "properties": {"age": {"type": "integer"}}})
    rendered = await client.render_prompt("hi", response_format=schema)
    await client.chat("hi", response_format=schema)
    assert engine.requests[-1].sampling.grammar == rendered.grammar != ""
    assert engine.requests[-1].prompt_token_ids == tuple(rendered.token_ids)


async def test_a_constrained_answer_that_cannot_go_on_fails_by_name(client: AsyncClient, engine: FakeEngine) -> None:
    engine.script = [[output(300)], [output(finish=FinishReason.CONSTRAINT_FAILED)]]
    with pytest.raises(ConstraintFailedError) as caught:
        await client.chat("hi", response_format=regex("a+"))
    assert caught.value.metadata["completion_id"].startswith("chatcmpl-")
