"""What the soak asks: requests whose answers are known, and requests that must be refused."""

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from tokenwire.stream import StreamFolder
from tokenwire.v1 import chat_pb2

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

WAIT_S = 600.0

TOPICS = ("rivers", "a lighthouse", "bread", "winter", "the moon", "chess", "a small town", "colours")

BAD_REQUESTS: tuple[dict[str, object], ...] = (
    {"temperature": 9.0},
    {"top_p": -1.0, "n": 0},
    {"max_completion_tokens": 1 << 30},
    {"stop": [""]},
    {"model": "nobody"},
    {"request_id": "ä"},
)


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the answer that it always gets: the same tokens, whatever else runs and whatever breaks."""

    request: chat_pb2.ChatCompletionRequest
    answer: chat_pb2.ChatCompletion


def requests(model: str, *, count: int, seed: int) -> list[chat_pb2.ChatCompletionRequest]:
    """Requests of many kinds, all with seeds."""
    chance = random.Random(seed)
    return [_request(model, chance, number) for number in range(count)]


def _request(model: str, chance: random.Random, number: int) -> chat_pb2.ChatCompletionRequest:
    request = chat_pb2.ChatCompletionRequest(
        model=model,
        messages=[
            chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"Tell me about {chance.choice(TOPICS)}, part {number}.")
        ],
        max_completion_tokens=chance.choice((8, 24, 48, 96)),
        temperature=chance.choice((0.0, 0.7, 1.0)),
        seed=number,
        n=chance.choice((1, 1, 1, 2)),
    )
    match number % 4:
        case 1:
            request.logprobs, request.top_logprobs = True, 3
        case 2:
            request.stop.append(chance.choice((".", "and", "\n")))
        case 3:
            request.response_format.regex = "[a-z ]{20,60}"
    return request


async def answered(stub: "ChatServiceAsyncStub", request: chat_pb2.ChatCompletionRequest) -> Case:
    """The request with the answer that the quiet server gives."""
    return Case(request, await stub.CreateChatCompletion(request, timeout=WAIT_S))


def differences(folder: StreamFolder, case: Case) -> str:
    """What of a stream's answer is not what it always is; empty: nothing."""
    got, expected = folder.completion, case.answer
    if list(got.choices) != list(expected.choices):
        return "choices"
    kept = ("prompt_tokens", "completion_tokens", "reasoning_tokens")
    return ", ".join(name for name in kept if getattr(got.usage, name) != getattr(expected.usage, name))


def is_refusal(error: grpc.aio.AioRpcError) -> bool:
    """Whether a status is one that a bad request may get."""
    return error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
