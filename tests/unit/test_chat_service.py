"""The chat service on a scripted engine: life cycle, admission, cancellation, and the calls beside completions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from transformers import AutoTokenizer

from support.fake_engine import FakeEngine, Step, answer, make_info, output
from tokenwire.chat.model import ModelLoadError, ServedModel
from tokenwire.chat.service import ChatService, ServiceState
from tokenwire.engine.protocol import FinishReason
from tokenwire.errors import (
    CompletionNotFoundError,
    ContextLengthError,
    DrainingError,
    EngineFaultError,
    InvalidRequestError,
    ModelLoadingError,
    ModelNotFoundError,
    QueueFullError,
    TokenwireError,
)
from tokenwire.stream import StreamChecker, StreamFolder
from tokenwire.v1.chat_pb2 import (
    ChatCompletionEvent,
    ChatCompletionRequest,
    GetChatCompletionRequest,
    RawPrompt,
    ServiceTier,
    TokenIds,
)
from tokenwire.v1.models_pb2 import GetModelRequest, ListModelsRequest
from tokenwire.v1.tokens_pb2 import DetokenizeRequest, TokenizeRequest

TIMEOUT_S = 10
MAX_QUEUE = 4


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> ServedModel:
    return ServedModel.load("tiny", make_info(tiny_folder))


@pytest.fixture
def engine(model: ServedModel) -> FakeEngine:
    """Answers every request with "Hello!"."""
    return FakeEngine(answer([*model.tokenizer.encode_text("Hello!"), 2]))


@pytest.fixture
def service(engine: FakeEngine, model: ServedModel) -> ChatService:
    service = ChatService(engine, max_queue=MAX_QUEUE, max_request_bytes=1000)
    service.open(model)
    return service


def request(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "tiny", "messages": [{"role": "ROLE_USER", "content": "hi"}], **fields}
    return ParseDict(body, ChatCompletionRequest())


async def collect(service: ChatService, request: ChatCompletionRequest) -> list[ChatCompletionEvent]:
    checker, events = StreamChecker(), []
    async with asyncio.timeout(TIMEOUT_S), aclosing(service.stream(request)) as stream:
        async for event in stream:
            checker.check(event)
            events.append(event)
    checker.end()
    return events


async def test_the_unary_answer_is_the_folded_stream(service: ChatService) -> None:
    asked = request(n=2, seed="7", logprobs=True, top_logprobs=2, stop=["!"])
    folder = StreamFolder()
    for event in await collect(service, asked):
        folder.add(event)
    answer = await service.create(asked)
    for completion in (answer, folder.completion):
        assert completion.id.startswith("chatcmpl-")
        for field in ("id", "created", "timings"):
            completion.ClearField(field)
    assert answer == folder.completion
    assert [choice.content for choice in answer.choices] == ["Hello", "Hello"]


async def test_the_engine_gets_the_prompt_and_the_parameters(
    service: ChatService, engine: FakeEngine, model: ServedModel
) -> None:
    asked = request(n=2, temperature=0.5, seed="9", max_completion_tokens=3)
    completion = await service.create(asked)
    [generation] = engine.requests
    assert generation.prompt_token_ids == tuple((await service.render_prompt(asked)).token_ids)
    assert (generation.n, generation.sampling.seed, generation.sampling.max_tokens) == (2, 9, 3)
    assert (completion.parameters.seed, completion.parameters.temperature) == (9, 0.5)
    assert completion.usage.prompt_tokens == len(generation.prompt_token_ids)


async def test_a_raw_prompt_goes_to_the_engine_without_the_template(
    service: ChatService, engine: FakeEngine, tiny_folder: Path
) -> None:
    text = "<|im_start|>user\nnaïve 🙂"
    await service.create(ChatCompletionRequest(model="tiny", raw_prompt=RawPrompt(text=text)))
    expected = AutoTokenizer.from_pretrained(tiny_folder)(text)["input_ids"]
    assert engine.requests[0].prompt_token_ids == tuple(expected)
    asked = ChatCompletionRequest(model="tiny", raw_prompt=RawPrompt(token_ids=TokenIds(ids=expected)))
    await service.create(asked)
    assert engine.requests[1].prompt_token_ids == tuple(expected)
    assert (await service.render_prompt(asked)).prompt == text


@pytest.mark.parametrize("prompt", [RawPrompt(text=""), RawPrompt(token_ids=TokenIds())])
async def test_a_raw_prompt_without_tokens_is_refused(service: ChatService, prompt: RawPrompt) -> None:
    with pytest.raises(InvalidRequestError, match="at least 1 token"):
        await service.create(ChatCompletionRequest(model="tiny", raw_prompt=prompt))


async def test_the_drawn_seed_is_returned(service: ChatService, engine: FakeEngine) -> None:
    completion = await service.create(request())
    assert completion.parameters.seed == engine.requests[0].sampling.seed


async def test_while_loading_only_the_list_of_models_answers(engine: FakeEngine) -> None:
    service = ChatService(engine, max_queue=1, max_request_bytes=1)
    assert service.state is ServiceState.LOADING
    assert list((await service.list_models(ListModelsRequest())).models) == []
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: service.get_model(GetModelRequest(model="tiny")),
        lambda: service.tokenize(TokenizeRequest(model="tiny")),
        lambda: service.detokenize(DetokenizeRequest(model="tiny")),
    ]
    for call in calls:
        with pytest.raises(ModelLoadingError):
            await call()
    for asynchronous in (service.create, service.count_tokens, service.render_prompt):
        with pytest.raises(ModelLoadingError) as caught:
            await asynchronous(request())
        assert caught.value.retry_after_s


async def test_draining_refuses_new_completions_and_lets_live_ones_end(
    service: ChatService, engine: FakeEngine
) -> None:
    gate = asyncio.Event()
    engine.script = [[output(300)], gate, [output(2, finish=FinishReason.STOP)]]
    async with asyncio.timeout(TIMEOUT_S), aclosing(service.stream(request())) as live:
        await anext(live)
        service.drain()
        assert (service.state, service.active) == (ServiceState.DRAINING, 1)
        with pytest.raises(DrainingError):
            await service.create(request())
        gate.set()
        last = [event async for event in live][-1]
        await service.wait_idle()
    assert last.completed.usage.completion_tokens == 2
    assert service.active == 0


async def test_waiting_for_idle_lasts_as_long_as_a_completion_lives(service: ChatService) -> None:
    live = service.stream(request())
    await anext(live)
    idle = asyncio.create_task(service.wait_idle())
    await asyncio.wait([idle], timeout=0)
    assert not idle.done()
    await live.aclose()
    await asyncio.wait_for(idle, TIMEOUT_S)


async def test_the_queue_is_bounded_by_choices(service: ChatService) -> None:
    live = [service.stream(request(n=2)) for _ in range(2)]
    for stream in live:
        await anext(stream)
    with pytest.raises(QueueFullError, match="at most 4 choices may run or wait at once; 4 do and this request has 1"):
        await service.create(request())
    for stream in live:
        await stream.aclose()
    await service.create(request(n=MAX_QUEUE))


async def test_a_request_that_could_never_be_queued_is_invalid(service: ChatService) -> None:
    with pytest.raises(InvalidRequestError, match=r"`n` must be in \[1, 4\]; got 5"):
        await service.create(request(n=MAX_QUEUE + 1))


async def test_cancelling_at_an_await_frees_everything(service: ChatService, engine: FakeEngine) -> None:
    engine.script = [asyncio.Event()]
    started = asyncio.Event()

    async def read() -> None:
        async with aclosing(service.stream(request())) as events:
            async for _ in events:
                started.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(started.wait(), TIMEOUT_S)
    task.cancel()
    await asyncio.wait([task], timeout=TIMEOUT_S)
    assert task.cancelled()
    assert engine.aborts == [(engine.requests[0].request_id, None)]
    assert service.active == 0


@pytest.mark.parametrize("events_read", [1, 2])
async def test_closing_at_a_yield_frees_everything(service: ChatService, engine: FakeEngine, events_read: int) -> None:
    stream = service.stream(request())
    for _ in range(events_read):
        await anext(stream)
    assert service.active == 1
    await stream.aclose()
    assert engine.aborts == [(engine.requests[0].request_id, None)]
    assert service.active == 0
    await asyncio.wait_for(service.wait_idle(), TIMEOUT_S)


@pytest.mark.parametrize("step", [EngineFaultError("gone"), [output(finish=FinishReason.FAULT)]])
async def test_an_engine_fault_names_the_completion_and_frees_everything(
    service: ChatService, engine: FakeEngine, step: Step
) -> None:
    script: Sequence[Step] = [[output(300)], step]
    engine.script = script
    with pytest.raises(EngineFaultError) as caught:
        await service.create(request())
    assert caught.value.completion_id == engine.requests[0].request_id
    assert service.active == 0


async def test_a_dead_engine_fails_at_once_and_leaves_no_place_taken(service: ChatService, engine: FakeEngine) -> None:
    engine.die()
    with pytest.raises(EngineFaultError):
        await service.create(request())
    assert service.active == 0


async def test_a_stop_string_aborts_its_choice_alone(service: ChatService, engine: FakeEngine) -> None:
    await service.create(request(stop=["l"]))
    request_id = engine.requests[0].request_id
    assert engine.aborts == [(request_id, 0), (request_id, None)]


ERRORS: list[tuple[dict[str, Any], type[TokenwireError]]] = [
    ({"model": "other"}, ModelNotFoundError),
    ({"model": ""}, InvalidRequestError),
    ({"top_p": 2}, InvalidRequestError),
    ({"max_completion_tokens": 10_000}, ContextLengthError),
]


@pytest.mark.parametrize(("fields", "error"), ERRORS)
async def test_bad_requests_never_reach_the_engine(
    service: ChatService, engine: FakeEngine, fields: dict[str, Any], error: type[TokenwireError]
) -> None:
    with pytest.raises(error):
        await service.create(request(**fields))
    assert engine.requests == []
    assert service.active == 0


async def test_a_long_prompt_is_the_same_prompt(service: ChatService, engine: FakeEngine) -> None:
    long = request(messages=[{"role": "ROLE_USER", "content": "quick brown fox " * 300}])
    with pytest.raises(ContextLengthError) as caught:
        await service.create(long)
    assert caught.value.prompt_tokens == (await service.count_tokens(long)).prompt_tokens


async def test_counting_tells_what_a_completion_would_be_charged(service: ChatService) -> None:
    counted = await service.count_tokens(request())
    charged = (await service.create(request())).usage.prompt_tokens
    assert counted.prompt_tokens == charged
    assert counted.available_completion_tokens == counted.context_length - charged


async def test_a_prompt_that_is_too_long_is_counted_all_the_same(service: ChatService) -> None:
    counted = await service.count_tokens(request(messages=[{"role": "ROLE_USER", "content": "quick brown fox " * 300}]))
    assert counted.prompt_tokens > counted.context_length
    assert counted.available_completion_tokens == 0


async def test_a_rendered_prompt_is_the_template_around_the_messages(service: ChatService) -> None:
    rendered = await service.render_prompt(request())
    assert rendered.prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    detokenized = await service.detokenize(DetokenizeRequest(model="tiny", token_ids=rendered.token_ids))
    assert detokenized.text == rendered.prompt


async def test_text_goes_to_tokens_and_back(service: ChatService) -> None:
    tokens = await service.tokenize(TokenizeRequest(model="tiny", text="naïve <|im_end|> 🙂"))
    assert 2 not in tokens.token_ids
    assert b"".join(tokens.token_bytes).decode() == "naïve <|im_end|> 🙂"
    back = DetokenizeRequest(model="tiny", token_ids=[1, *tokens.token_ids, 2], skip_special_tokens=True)
    assert (await service.detokenize(back)).text == "naïve <|im_end|> 🙂"


async def test_token_ids_outside_the_vocabulary_are_all_reported(service: ChatService) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await service.detokenize(DetokenizeRequest(model="tiny", token_ids=[-1, 3, 500]))
    assert [violation.field for violation in caught.value.violations] == ["token_ids[0]", "token_ids[2]"]


@pytest.mark.parametrize(("name", "error"), [("other", ModelNotFoundError), ("", InvalidRequestError)])
async def test_a_model_that_is_not_served_is_told(service: ChatService, name: str, error: type[TokenwireError]) -> None:
    with pytest.raises(error):
        await service.get_model(GetModelRequest(model=name))


async def test_a_model_tells_its_limits_and_what_identifies_it(service: ChatService, model: ServedModel) -> None:
    described = await service.get_model(GetModelRequest(model="tiny"))
    assert [described] == list((await service.list_models(ListModelsRequest())).models)
    assert (described.vocabulary_size, described.context_length) == (500, 512)
    assert (described.limits.max_n, described.limits.max_stop, described.limits.max_queued_choices) == (4, 4, 4)
    assert described.limits.max_queued_tokens > 0
    assert described.limits.max_retain_for.seconds > described.limits.default_retain_for.seconds > 0
    assert described.limits.heartbeat_interval.seconds > 0
    assert (described.limits.max_request_bytes, described.defaults.temperature) == (1000, 1.0)
    assert len(described.tokenizer_sha256) == len(described.chat_template_sha256) == 64
    assert described.system_fingerprint == model.system_fingerprint


def test_the_fingerprint_changes_with_the_template_and_not_with_the_load(tiny_folder: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[0]['content'] }}")
    info = make_info(tiny_folder)
    fingerprints = [
        ServedModel.load("m", info, chat_template=path).system_fingerprint for path in (None, None, template)
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_template_file_may_be_in_the_home_folder(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.jinja").write_text("mine: {{ messages[0]['content'] }}")
    model = ServedModel.load("m", make_info(tiny_folder), chat_template=Path("~/mine.jinja"))
    assert model.template.prompt(request()).text == "mine: hi"


def test_a_folder_without_a_tokenizer_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        ServedModel.load("m", make_info(tmp_path))


async def test_the_access_log_has_counts_and_no_text(service: ChatService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tokenwire.chat")
    completion = await service.create(request(messages=[{"role": "ROLE_USER", "content": "secret"}]))
    [line] = caplog.messages
    assert f"completion_tokens={completion.usage.completion_tokens} outcome=stop" in line
    assert line.startswith(completion.id)
    assert "secret" not in line


async def test_a_stored_completion_can_be_read_again(service: ChatService) -> None:
    asked = request(store=True, n=2, metadata={"team": "red"}, user="alice")
    completion = await service.create(asked)
    stored = await service.get_chat_completion(GetChatCompletionRequest(completion_id=completion.id))
    assert stored.completion == completion
    assert (dict(stored.metadata), stored.user) == ({"team": "red"}, "alice")


async def test_a_stream_is_stored_once_its_last_event_is_there(service: ChatService) -> None:
    async with aclosing(service.stream(request(store=True))) as events:
        name = (await anext(events)).started.id
        async for event in events:
            if event.WhichOneof("event") == "completed":
                break  # a caller that does not wait for the status
    stored = await service.get_chat_completion(GetChatCompletionRequest(completion_id=name))
    assert [choice.content for choice in stored.completion.choices] == ["Hello!"]


async def test_what_is_not_stored_cannot_be_read(service: ChatService) -> None:
    completion = await service.create(request())
    async with aclosing(service.stream(request(store=True))) as events:
        cancelled = (await anext(events)).started.id
    for name in (completion.id, cancelled, "chatcmpl-0"):
        with pytest.raises(CompletionNotFoundError, match=name):
            await service.get_chat_completion(GetChatCompletionRequest(completion_id=name))
    with pytest.raises(InvalidRequestError, match="`completion_id` is required"):
        await service.get_chat_completion(GetChatCompletionRequest())


@pytest.mark.parametrize(
    ("fields", "priority", "tier"),
    [
        ({}, 0, ServiceTier.SERVICE_TIER_DEFAULT),
        ({"service_tier": "SERVICE_TIER_AUTO"}, 0, ServiceTier.SERVICE_TIER_DEFAULT),
        ({"service_tier": "SERVICE_TIER_FLEX"}, -10, ServiceTier.SERVICE_TIER_FLEX),
        ({"service_tier": "SERVICE_TIER_PRIORITY"}, 10, ServiceTier.SERVICE_TIER_PRIORITY),
        ({"execution_policy": {"priority": 0}, "service_tier": "SERVICE_TIER_FLEX"}, 0, ServiceTier.SERVICE_TIER_FLEX),
    ],
)
async def test_the_tier_gives_a_priority_and_is_told(
    service: ChatService, engine: FakeEngine, fields: dict[str, Any], priority: int, tier: ServiceTier.ValueType
) -> None:
    completion = await service.create(request(**fields))
    assert engine.requests[0].priority == priority
    assert completion.service_tier == tier


async def test_the_engine_is_told_bad_words_and_prompt_logprobs(service: ChatService, engine: FakeEngine) -> None:
    await service.create(request(bad_words=["né"]))
    await service.create(request(prompt_logprobs=0))
    assert [r.sampling.bad_words for r in engine.requests] == [("né".encode(),), ()]
    assert [r.prompt_logprobs for r in engine.requests] == [None, 0]
