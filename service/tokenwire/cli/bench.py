"""`tokenwire bench`: measures a served model under load, as a table and as JSON."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from tokenwire.cli.load import LoadReport, Percentiles, measure
from tokenwire.cli.options import ServerOptions
from tokenwire.cli.problems import explain
from tokenwire.cli.prompts import make_prompts
from tokenwire.v1.models_pb2 import Model
from tokenwire_client import AsyncClient, ChatParameters, TokenwireClientError, Transport


def _split_levels(kind: type, tokens: Sequence[Token]) -> tuple[int, ...]:
    text = tokens[0].value
    if not all(level.isdecimal() and int(level) > 0 for level in text.split(",")):
        raise ValueError(f"must be numbers of at least 1 with commas between them; got {text!r}")
    return tuple(int(level) for level in text.split(","))


_Positive = Parameter(validator=Number(gte=1))


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What is sent. Answers are greedy and go on past the end of text, so that every one has `max_tokens` tokens."""

    concurrency: Annotated[tuple[int, ...], Parameter(converter=_split_levels, n_tokens=1, negative="")] = (1, 8, 32)
    """Numbers of streams at once, with commas; each is measured by itself."""

    rounds: Annotated[int, _Positive] = 4
    """Requests of each stream."""

    max_tokens: Annotated[int, _Positive] = 96
    """Tokens of each answer."""

    prompt_tokens: Annotated[int | None, _Positive] = None
    """Cut or draw out the prompts to about this many tokens."""

    prompts: Path | None = None
    """File with a prompt on each line; default: built-in prompts, all different."""

    model: str | None = None
    """Name of the model; default: the only one that is served."""

    json: Path | None = None
    """Write the figures to this file too."""


def bench(
    *,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    options: BenchOptions = BenchOptions(),
) -> int:
    """Measure a server under load: throughput, time to the first token, time between tokens, time of a request.

    The exit code is 1 if any request failed.
    """
    try:
        model, reports = asyncio.run(_run(server, options))
    except TokenwireClientError as error:
        print(explain(error, target=server.target), file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    Console().print(_table(model, reports))
    for report in reports:
        for message, count in report.errors.items():
            print(f"{report.concurrency} streams: {count} × {message}", file=sys.stderr)
    if options.json:
        options.json.write_text(_to_json(model, options, reports), encoding="utf-8")
    return int(any(report.errors for report in reports))


async def _run(server: ServerOptions, options: BenchOptions) -> tuple[Model, list[LoadReport]]:
    # A refused request is a result here, not something to try again.
    transport = Transport(retries=False)
    async with AsyncClient(
        server.target, api_key=server.api_key, timeout_s=server.timeout_s, transport=transport
    ) as client:
        model = await client.model(options.model)
        prompts = make_prompts(client, file=options.prompts, prompt_tokens=options.prompt_tokens)
        reports = []
        for concurrency in options.concurrency:
            await measure(client, prompts, _parameters(model, 8), concurrency=concurrency, requests=concurrency)
            print(f"{concurrency} streams × {options.rounds} requests …", file=sys.stderr)
            parameters = _parameters(model, options.max_tokens)
            requests = concurrency * options.rounds
            reports.append(await measure(client, prompts, parameters, concurrency=concurrency, requests=requests))
        return model, reports


def _parameters(model: Model, max_tokens: int) -> ChatParameters:
    return {"model": model.id, "temperature": 0.0, "max_completion_tokens": max_tokens, "ignore_eos": True}


def _table(model: Model, reports: Sequence[LoadReport]) -> Table:
    table = Table(title=f"{model.id}, {model.dtype} on {model.device}")
    table.add_column("streams")
    for report in reports:
        table.add_column(str(report.concurrency), justify="right")
    table.add_row("requests", *(str(report.requests) for report in reports))
    table.add_row("errors", *(str(sum(report.errors.values())) for report in reports))
    table.add_row("output tok/s", *(f"{report.output_tokens_per_s:.1f}" for report in reports))
    table.add_row("total tok/s", *(f"{report.total_tokens_per_s:.1f}" for report in reports))
    table.add_row("first token, ms: p50 / p90 / p99", *(_milliseconds(r.time_to_first_token_s) for r in reports))
    table.add_row("between tokens, ms", *(_milliseconds(report.inter_token_s) for report in reports))
    table.add_row("request, ms", *(_milliseconds(report.request_s) for report in reports))
    return table


def _milliseconds(measured: Percentiles | None) -> str:
    if measured is None:
        return "–"
    return " / ".join(f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f}" for seconds in asdict(measured).values())


def _to_json(model: Model, options: BenchOptions, reports: Sequence[LoadReport]) -> str:
    figures = {
        "model": model.id,
        "system_fingerprint": model.system_fingerprint,
        "dtype": model.dtype,
        "device": model.device,
        "rounds": options.rounds,
        "max_tokens": options.max_tokens,
        "prompt_tokens": options.prompt_tokens,
        "levels": [asdict(report) for report in reports],
    }
    return json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
