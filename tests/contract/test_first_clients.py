"""Clients with the stubs of the first contract against this server: all that they know is as it was."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from support.fake_engine import FakeEngine, answer, make_info
from support.first_contract import CHAT, MODELS, TOKENS, message, message_class, stub
from support.golden import Golden, read
from support.server import TIMEOUT_S, ignore_progress
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig, StreamConfig
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, ServiceTier

ASKED: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "ROLE_USER", "content": "hi"}],
    "temperature": 0.5,
    "seed": 7,
    "logprobs": True,
    "top_logprobs": 2,
}


def known(name: str) -> bool:
    """Whether the first contract has this message."""
    try:
        message_class(name)
    except KeyError:
        return False
    return True


def unknown_fields(received: Any) -> list[int]:
    """The numbers of fields that the first contract does not have."""
    found = UnknownFieldSet(received)
    return [found[place].field_number for place in range(len(found))]


def request(**fields: Any) -> Any:
    """A chat request of the first contract."""
    return message("ChatCompletionRequest", **{**ASKED, **fields})


async def test_an_answer_has_all_that_the_first_contract_promised(channel: grpc.aio.Channel) -> None:
    completion = await stub(channel, CHAT, "CreateChatCompletion")(request(n=2), timeout=TIMEOUT_S)
    assert completion.id.startswith("chatcmpl-")
    assert (completion.model, completion.created.seconds > 0, completion.system_fingerprint != "") == (
        "tiny",
        True,
        True,
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    for choice in completion.choices:
        assert choice.content
        assert b"".join(token.bytes for token in choice.logprobs).decode() == choice.content
        assert [len(token.top_logprobs) for token in choice.logprobs] == [2, 2, 2]
        assert choice.finish_reason == 1
    assert completion.usage.completion_tokens == 6
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 6
    assert (completion.parameters.seed, completion.parameters.temperature) == (7, 0.5)


async def test_what_is_new_in_an_answer_is_carried_along_unread(channel: grpc.aio.Channel) -> None:
    completion = await stub(channel, CHAT, "CreateChatCompletion")(request(), timeout=TIMEOUT_S)
    assert unknown_fields(completion) == [ChatCompletion.SERVICE_TIER_FIELD_NUMBER]
    passed_on = ChatCompletion.FromString(completion.SerializeToString())
    assert passed_on.service_tier == ServiceTier.SERVICE_TIER_DEFAULT


async def test_a_stream_is_what_the_first_contract_said(channel: grpc.aio.Channel) -> None:
    whole = await stub(channel, CHAT, "CreateChatCompletion")(request(), timeout=TIMEOUT_S)
    call = stub(channel, CHAT, "StreamChatCompletion")(request(), timeout=TIMEOUT_S)
    events = [event async for event in call]
    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], kinds[-2:]) == ("started", ["finished", "completed"])
    assert set(kinds[1:-2]) == {"delta"}
    assert "".join(event.delta.content for event in events) == whole.choices[0].content
    assert events[-1].completed.usage == whole.usage
    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))


async def test_an_event_of_a_new_kind_is_one_without_a_kind(tiny_folder: Path) -> None:
    gate = asyncio.Event()
    engine = FakeEngine(lambda asked: [gate, *answer([300])(asked)], info=make_info(tiny_folder))
    config = ServeConfig(
        model=ModelOptions(model="tiny"), server=ServerConfig(port=0), streams=StreamConfig(heartbeat_s=0.1)
    )
    server = Server(config, engine)
    seen = []
    try:
        await server.start(ignore_progress)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        async for event in stub(channel, CHAT, "StreamChatCompletion")(request(), timeout=TIMEOUT_S):
            seen.append(event.WhichOneof("event"))
            if seen[-1] is None:
                assert unknown_fields(event) == [ChatCompletionEvent.HEARTBEAT_FIELD_NUMBER]
                gate.set()
        await channel.close()
    finally:
        await server.stop()
    assert None in seen
    assert [kind for kind in seen if kind] == ["started", "delta", "finished", "completed"]


async def test_every_violation_of_a_request_is_told(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(channel, CHAT, "CreateChatCompletion")(request(temperature=3, top_p=-1), timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    told, info = BadRequest(), ErrorInfo()
    for detail in status.details:
        for kind in (told, info):
            detail.Unpack(kind)
    assert {violation.field for violation in told.field_violations} == {"temperature", "top_p"}
    assert (info.reason, info.domain) == ("FIELD_INVALID", "tokenwire.dev")


async def test_an_unknown_model_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub(channel, MODELS, "GetModel")(message("GetModelRequest", model="gpt-9"), timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_models_are_listed_and_described(channel: grpc.aio.Channel) -> None:
    listed = await stub(channel, MODELS, "ListModels")(message("ListModelsRequest"), timeout=TIMEOUT_S)
    (model,) = listed.models
    assert model == await stub(channel, MODELS, "GetModel")(message("GetModelRequest", model="tiny"), timeout=TIMEOUT_S)
    assert (model.id, model.architecture, model.dtype, model.device) == ("tiny", "LlamaForCausalLM", "float32", "cpu")
    assert (model.vocabulary_size, model.context_length, model.kv_cache_tokens) == (500, 512, 4096)
    limits = model.limits
    assert (limits.max_n, limits.max_stop, limits.max_top_logprobs, limits.max_stop_token_ids) == (128, 4, 20, 64)
    assert (model.defaults.temperature, model.defaults.top_p, model.defaults.n) == (1, 1, 1)
    assert (len(model.chat_template_sha256), len(model.tokenizer_sha256)) == (64, 64)


async def test_prompts_are_counted_and_rendered_and_text_makes_the_round(channel: grpc.aio.Channel) -> None:
    counted = await stub(channel, TOKENS, "CountTokens")(request(), timeout=TIMEOUT_S)
    rendered = await stub(channel, TOKENS, "RenderPrompt")(request(), timeout=TIMEOUT_S)
    assert len(rendered.token_ids) == counted.prompt_tokens > 0
    assert "hi" in rendered.prompt
    text = "a river, ß水"
    tokens = await stub(channel, TOKENS, "Tokenize")(
        message("TokenizeRequest", model="tiny", text=text), timeout=TIMEOUT_S
    )
    assert b"".join(tokens.token_bytes).decode() == text
    back = message("DetokenizeRequest", model="tiny", token_ids=list(tokens.token_ids))
    assert (await stub(channel, TOKENS, "Detokenize")(back, timeout=TIMEOUT_S)).text == text


@pytest.mark.parametrize(
    "golden", [pytest.param(golden, id=golden.name) for golden in read() if known(golden.descriptor.name)]
)
def test_a_message_passes_through_the_first_contract_unchanged(golden: Golden) -> None:
    passed_on = message_class(golden.descriptor.name).FromString(golden.wire).SerializeToString()
    assert type(golden.message()).FromString(passed_on) == golden.message()
