"""What control costs: a grammar on every stream, a schema nobody has seen, log-probabilities on some of the streams.

python tests/bench/control_cost.py [--model PATH] [--streams 32] [--rounds 5] [--json FILE]

Everything goes over gRPC to one server in this process, with and without the control in turns, so that both sides see
the same minutes of the machine. Answers have equal lengths: a constrained one cannot end before it is cut.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from tokenwire.cache import default_cache_dir
from tokenwire.config import ModelOptions, ServeConfig, ServerConfig
from tokenwire.demo import DEMO_MODEL_NAME, fetch_demo_model
from tokenwire.engine.supervisor import SupervisedEngine
from tokenwire.server import Server
from tokenwire.v1.chat_pb2 import JsonSchemaFormat, ResponseFormat
from tokenwire_client import AsyncClient, ChatParameters

MAX_TOKENS = 96
NUM_LOGPROBS_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Comparison:
    """One control, with and without, a figure a round. Times in ms."""

    name: str
    figure: str
    without: list[float]
    control: list[float]
    paired: bool = False
    """Whether the figure is a difference of two requests that followed each other, not a ratio."""


def records(depth: int, *, salt: str, count: int | None = None) -> ResponseFormat:
    """A nested schema; with `count`, of a list so long that the answer is cut."""
    record: dict[str, object] = {"type": "string", "maxLength": 12}
    for level in range(depth):
        properties = {
            f"name_{salt}_{level}": {"type": "string", "maxLength": 20},
            f"kind_{salt}_{level}": {"enum": ["red", "green", "blue", f"{salt}"]},
            f"count_{salt}_{level}": {"type": "integer", "minimum": 0, "maximum": 1000},
            f"parts_{salt}_{level}": {"type": "array", "items": record, "minItems": 1, "maxItems": 3},
        }
        record = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    schema = record if count is None else {"type": "array", "items": record, "minItems": count}
    return ResponseFormat(json_schema=JsonSchemaFormat(schema=json.dumps(schema)))


def prompts(streams: int, round_number: int) -> list[str]:
    """Different prompts of equal length: the prefix cache has no more than their beginning."""
    return [
        f"Describe item {round_number:03d}-{stream:03d} of the catalogue as JSON records." for stream in range(streams)
    ]


async def gap_ms(client: AsyncClient, texts: Sequence[str], parameters: Sequence[ChatParameters]) -> float:
    """Median time between the tokens of all streams together, while all of them decode."""
    arrivals = await asyncio.gather(
        *(_arrivals(client, text, each) for text, each in zip(texts, parameters, strict=True))
    )
    # The first tokens come while prompts are still computed.
    gaps = [b - a for times in arrivals for a, b in pairwise(times[8:])]
    return statistics.median(gaps) * 1000


async def _arrivals(client: AsyncClient, text: str, parameters: ChatParameters) -> list[float]:
    return [
        time.perf_counter()
        async for update in client.stream(text, **parameters)
        if update.event.WhichOneof("event") == "delta"
    ]


async def first_delta_ms(client: AsyncClient, text: str, parameters: ChatParameters) -> float:
    """From sending the request to its first delta."""
    began_s = time.perf_counter()
    return (await _arrivals(client, text, parameters))[0] * 1000 - began_s * 1000


async def compare(client: AsyncClient, *, streams: int, rounds: int) -> list[Comparison]:
    """All comparisons, after one round of warming up."""
    results: list[Comparison] = []
    for name, temperature in (("grammar, greedy", 0.0), ("grammar, temperature 1", 1.0)):
        plain = _parameters(temperature)
        constrained: ChatParameters = {**plain, "response_format": records(2, salt="x", count=200)}
        results.append(await _compare_gaps(client, name, [plain] * streams, [constrained] * streams, rounds=rounds))
    plain = _parameters(0.0)
    with_logprobs: ChatParameters = {**plain, "logprobs": True, "top_logprobs": 20}
    some = [with_logprobs] * NUM_LOGPROBS_STREAMS + [plain] * (streams - NUM_LOGPROBS_STREAMS)
    name = f"top-20 log-probabilities on {NUM_LOGPROBS_STREAMS} streams"
    results.append(await _compare_gaps(client, name, [plain] * streams, some, rounds=rounds))
    results.append(await _compare_first(client, rounds=4 * rounds))
    return results


def _parameters(temperature: float) -> ChatParameters:
    return {"temperature": temperature, "seed": 7, "max_completion_tokens": MAX_TOKENS, "ignore_eos": True}


async def _compare_gaps(
    client: AsyncClient,
    name: str,
    without: Sequence[ChatParameters],
    control: Sequence[ChatParameters],
    *,
    rounds: int,
) -> Comparison:
    comparison = Comparison(f"{name}, {len(without)} streams", "between tokens p50, ms", [], [])
    for round_number in range(rounds + 1):
        texts = prompts(len(without), round_number)
        figures = await gap_ms(client, texts, without), await gap_ms(client, texts, control)
        print(f"{comparison.name}: {figures[0]:.1f} / {figures[1]:.1f} ms", flush=True)
        if round_number > 0:
            comparison.without.append(figures[0])
            comparison.control.append(figures[1])
    return comparison


async def _compare_first(client: AsyncClient, *, rounds: int) -> Comparison:
    """One stream on an idle server; the schema is a new one each time, the prompt's length the same."""
    comparison = Comparison("a new nested schema, 1 stream", "first token, ms", [], [], paired=True)
    plain: ChatParameters = {**_parameters(0.0), "max_completion_tokens": 1}
    for round_number in range(rounds + 1):
        first, second = prompts(2, 500 + round_number)
        schema = records(4, salt=f"r{round_number}")
        without = await first_delta_ms(client, first, plain)
        control = await first_delta_ms(client, second, {**plain, "response_format": schema})
        if round_number > 0:
            comparison.without.append(without)
            comparison.control.append(control)
    return comparison


def table(comparisons: Sequence[Comparison]) -> str:
    """The figures as a Markdown table: medians of the rounds, least and most in brackets."""
    lines = ["| control | figure | without | with | cost |", "|---|---|---|---|---|"]
    for one in comparisons:
        pairs = list(zip(one.without, one.control, strict=True))
        cost = (
            f"{statistics.median(b - a for a, b in pairs):+.1f} ms"
            if one.paired
            else f"{statistics.median(b / a - 1 for a, b in pairs):+.1%}"
        )
        lines.append(f"| {one.name} | {one.figure} | {_spread(one.without)} | {_spread(one.control)} | {cost} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


async def _run(model: Path, *, streams: int, rounds: int) -> list[Comparison]:
    config = ServeConfig(
        model=ModelOptions(model=str(model), served_model_name=DEMO_MODEL_NAME), server=ServerConfig(port=0)
    )
    server = Server(config, SupervisedEngine(config.engine_options))
    try:
        await server.start(lambda progress: None)
        async with AsyncClient(f"127.0.0.1:{server.port}") as client:
            return await compare(client, streams=streams, rounds=rounds)
    finally:
        await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each comparison")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    model = arguments.model or fetch_demo_model(default_cache_dir())
    comparisons = asyncio.run(_run(model, streams=arguments.streams, rounds=arguments.rounds))
    print(table(comparisons))
    if arguments.json:
        figures: list[Mapping[str, object]] = [asdict(one) for one in comparisons]
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
