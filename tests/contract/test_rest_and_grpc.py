"""What is wrong with a request is told over gRPC and over HTTP alike."""

from itertools import combinations

import grpc
import httpx
import pytest

from support.fake_engine import FakeEngine
from support.rest_api import Json, error_of
from support.server import TIMEOUT_S
from support.serving import serving
from tokenwire.errors import InvalidRequestError
from tokenwire.gateway.status import error_of as error_of_status
from tokenwire.rest.chat.requests import parse_chat_request
from tokenwire.rest.errors import error_json
from tokenwire.v1.chat_pb2_grpc import ChatServiceStub

CHAT: Json = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/chat/completions"

# Each breaks a rule of the service's; all have the right JSON types.
BROKEN: tuple[Json, ...] = (
    {"model": "other"},
    {"messages": []},
    {"messages": [{"role": "tool", "content": "no id"}]},
    {"messages": [{"role": "user", "content": []}]},
    {"max_tokens": 0},
    {"max_completion_tokens": 100_000},
    {"temperature": 3},
    {"top_p": -1},
    {"n": 129},
    {"top_logprobs": 2},
    {"stop": "a" * 2000},
    {"stop": [""]},
    {"logit_bias": {"999999": 1, "3": 200}},
    {"metadata": {"a": "b" * 600}},
    {"priority": 10**6},
    {"execution_policy": {"time_budget_s": -1, "max_queue_time_s": 0}},
    {"response_format": {"type": "choice", "choice": []}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "two words", "schema": {}}}},
    {"tool_choice": {"type": "function", "function": {"name": "nobody"}}},
    {"tools": [{"type": "function", "function": {"name": "two words"}}]},
)


@pytest.mark.parametrize("stream", [False, True])
async def test_every_pair_of_mistakes_has_the_same_error_over_both(engine: FakeEngine, stream: bool) -> None:
    async with (
        serving(engine) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http_port}", timeout=TIMEOUT_S, verify=False) as http,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        for first, second in combinations(BROKEN, 2):
            if first.keys() & second.keys() or {"max_tokens", "max_completion_tokens"} <= {*first, *second}:
                continue  # one of them would be lost; and the contract has no `max_tokens`
            body = {**CHAT, **first, **second}
            answered = await http.post(PATH, json={**body, "stream": stream})
            status, told = await over_grpc(channel, body, stream=stream)
            assert (answered.status_code, error_of(answered)) == (status, told), body


async def over_grpc(channel: grpc.aio.Channel, body: Json, *, stream: bool) -> tuple[int, object]:
    """HTTP status and error object that the details of the gRPC status amount to."""
    parsed, stub = parse_chat_request(body), ChatServiceStub(channel)
    create, events = stub.CreateChatCompletion, stub.StreamChatCompletion
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (
            events(parsed.message, timeout=TIMEOUT_S).read() if stream else create(parsed.message, timeout=TIMEOUT_S)
        )
    error = error_of_status(caught.value)
    if isinstance(error, InvalidRequestError):
        error = parsed.in_json_terms(error)
    return error.kind.http_status, error_json(error)["error"]
