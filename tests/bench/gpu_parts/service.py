"""The whole service on the device: `tokenwire serve` on a model folder with random weights, over gRPC."""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from transformers import AutoModelForCausalLM, LlamaConfig

from bench.gpu_parts.scale import DEVICE, Scale, tell
from support.serve_process import ServeProcess
from support.tiny import make_tokenizer
from tokenwire.v1 import chat_pb2, chat_pb2_grpc

if TYPE_CHECKING:
    from tokenwire.v1.chat_pb2_grpc import ChatServiceAsyncStub

TIMEOUT_S = 60


def run(scale: Scale) -> None:
    """Write the folder, serve it, and tell how it went."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "random"
        _write_model(folder, scale)
        log = Path(temporary) / "log"
        start = time.monotonic()
        options = ("--port", "0", "--http-port", "0", "--max-running", str(scale.streams))
        with ServeProcess("--model", folder, *options, log=log) as server:
            server.wait_until_ready()
            tell("start to ready", f"{time.monotonic() - start:.1f} s", " ".join(server.banner.split())[:120])
            try:
                asyncio.run(_ask(server.target, scale))
            finally:
                print(log.read_text()[-4000:], flush=True)


def _write_model(folder: Path, scale: Scale) -> None:
    size = -(-make_tokenizer(folder).get_vocab_size() // 64) * 64
    config = LlamaConfig(**scale.service_config, vocab_size=size, tie_word_embeddings=True)
    with DEVICE:
        AutoModelForCausalLM.from_config(config, dtype=scale.dtype).save_pretrained(folder)


async def _ask(target: str, scale: Scale) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        tell("health", health_pb2.HealthCheckResponse.ServingStatus.Name(health.status))
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await _stream(stub, 0, scale)  # loads kernels
        for streams in (1, scale.streams, scale.streams):  # the second time with all graphs captured
            await _tell_streams(stub, streams, scale)
        await _tell_cancel(stub, scale)


async def _tell_streams(stub: "ChatServiceAsyncStub", streams: int, scale: Scale) -> None:
    start = time.monotonic()
    told = await asyncio.gather(*(_stream(stub, number, scale) for number in range(streams)))
    took = time.monotonic() - start
    tokens = sum(count for count, _ in told)
    first = median(ttft for _, ttft in told)
    tell(
        f"{streams} streams of {scale.stream_tokens} tokens over gRPC",
        f"{tokens / took:,.0f} tok/s",
        f"{tokens} tokens in {took:.2f} s, first event after {first * 1e3:.0f} ms (median)",
    )


async def _stream(stub: "ChatServiceAsyncStub", number: int, scale: Scale) -> tuple[int, float]:
    """Tokens of the answer, and the time of its first event that has text or an end."""
    start = time.monotonic()
    first, tokens = 0.0, 0
    async for event in stub.StreamChatCompletion(_request(number, scale.stream_tokens), timeout=TIMEOUT_S):
        kind = event.WhichOneof("event")
        if not first and kind != "started":
            first = time.monotonic() - start
        if kind == "completed":
            tokens = event.completed.usage.completion_tokens
    return tokens, first


async def _tell_cancel(stub: "ChatServiceAsyncStub", scale: Scale) -> None:
    """Streams that are cancelled in the middle leave their places to others."""
    calls = [stub.StreamChatCompletion(_request(number, 200), timeout=TIMEOUT_S) for number in range(scale.streams)]
    for call in calls:
        await call.read()
    for call in calls:
        call.cancel()
    start = time.monotonic()
    tokens, first = await _stream(stub, 1, scale)
    tell(
        f"an answer behind {scale.streams} cancelled ones",
        f"first event after {first * 1e3:.0f} ms",
        f"{tokens} tokens, {time.monotonic() - start:.2f} s",
    )


def _request(number: int, tokens: int) -> chat_pb2.ChatCompletionRequest:
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=f"Story number {number}, please.")
    return chat_pb2.ChatCompletionRequest(
        model="random", messages=[message], max_completion_tokens=tokens, ignore_eos=True, seed=number
    )
