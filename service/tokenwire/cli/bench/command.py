"""The command `tokenwire bench`: measures one server, or several side by side, under load."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number
from rich.console import Console

from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.cli.bench.compare import Measured, Plan, Point, compare
from tokenwire.cli.bench.figures import Figures
from tokenwire.cli.bench.grpc_target import GrpcTarget
from tokenwire.cli.bench.plot import SUFFIXES, plot
from tokenwire.cli.bench.report import to_json
from tokenwire.cli.bench.table import tables
from tokenwire.cli.bench.targets import Address, RequestFailedError, Target, parse_address
from tokenwire.cli.options import ServerOptions


def _split_levels(kind: type, tokens: Sequence[Token]) -> tuple[int, ...]:
    text = tokens[0].value
    if not all(level.isdecimal() and int(level) > 0 for level in text.split(",")):
        raise ValueError(f"must be numbers of at least 1 with commas between them; got {text!r}")
    return tuple(int(level) for level in text.split(","))


_Positive = Parameter(validator=Number(gte=1))
_Levels = Parameter(converter=_split_levels, n_tokens=1, negative="")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What is sent. Answers are greedy and go on past the end of text, so that every one has `max_tokens` tokens."""

    streams: Annotated[tuple[int, ...], _Levels] = (1, 8, 32)
    """Numbers of streams at once, with commas; each is measured by itself."""

    rounds: Annotated[int, _Positive] = 4
    """Rounds of each measurement; in each round the servers take turns."""

    requests: Annotated[int, _Positive] = 1
    """Requests of each stream in a round, one after the other."""

    max_tokens: Annotated[int, _Positive] = 96
    """Tokens of each answer."""

    prompt_tokens: Annotated[tuple[int, ...] | None, _Levels] = None
    """Cut or draw out the prompts to about so many tokens; several, with commas, are measured one by one."""

    prompts: Path | None = None
    """File with a prompt on each line; default: built-in prompts, all different."""

    model: str | None = None
    """Name of the model; default: the only one that is served."""

    json: Path | None = None
    """Write the figures to this file too, with every round, the machine and the versions."""

    plot: Path | None = None
    """Draw the growth with streams, or with the prompts' length, to this file: .png or .svg."""

    @property
    def plan(self) -> Plan:
        """What is sent at which point."""
        points = [Point(streams, length) for length, streams in product(self.prompt_tokens or (None,), self.streams)]
        return Plan(
            points=points,
            rounds=self.rounds,
            requests=self.requests,
            max_tokens=self.max_tokens,
            prompts=self.prompts,
        )


def bench(
    *targets: str,
    server: ServerOptions = ServerOptions(),  # noqa: B008 (frozen)
    options: BenchOptions = BenchOptions(),
) -> int:
    """Measure servers under load: throughput, time to the first token, time between tokens, time of a request.

    The exit code is 1 if any request failed.

    Parameters
    ----------
    targets
        Servers to measure side by side, as `name=grpc://host:port` for ours and `name=http://host:port/v1` for any with
        OpenAI's REST API; default: --target alone.
    """
    try:
        addresses = _addresses(targets, server)
        _check_extras(addresses, options)
        described, measured = asyncio.run(_run(addresses, server, options))
    except RequestFailedError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    if len(described) > 1:
        for name, description in described.items():
            console.print(f"{name}: {description}", markup=False, highlight=False)
    for table in tables(measured, described):
        console.print(table)
    if options.json:
        about = circumstances(["tokenwire", *sys.argv[1:]])
        report = to_json(measured, circumstances=about, servers=described, max_tokens=options.max_tokens)
        options.json.write_text(report, encoding="utf-8")
    if options.plot:
        plot(measured, options.plot)
    return _report_errors(measured)


def _addresses(targets: Sequence[str], server: ServerOptions) -> list[Address]:
    if not targets:
        return [Address(server.target, "grpc", server.target)]
    addresses = [parse_address(target) for target in targets]
    if len({address.name for address in addresses}) < len(addresses):
        raise ValueError("every target needs a name of its own: name=grpc://host:port")
    return addresses


def _check_extras(addresses: Sequence[Address], options: BenchOptions) -> None:
    """Before anything is measured. Raises ValueError."""
    if options.plot and options.plot.suffix not in SUFFIXES:
        raise ValueError(f"a plot is a file that ends in {' or '.join(SUFFIXES)}; got {str(options.plot)!r}")
    needs = {"httpx": any(address.scheme != "grpc" for address in addresses), "matplotlib": options.plot is not None}
    missing = [module for module, is_needed in needs.items() if is_needed and find_spec(module) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be installed for this: pip install 'tokenwire[bench]'")


async def _run(
    addresses: Sequence[Address], server: ServerOptions, options: BenchOptions
) -> tuple[Mapping[str, str], list[Measured]]:
    """What is served at each target, and the figures."""
    targets = [open_target(address, server, model=options.model) for address in addresses]
    try:
        described = {target.name: await target.describe() for target in targets}
        return described, await compare(targets, options.plan, on_point=_show)
    finally:
        for target in targets:
            await target.close()


def open_target(address: Address, server: ServerOptions, *, model: str | None) -> Target:
    """Nothing is sent yet."""
    if address.scheme == "grpc":
        return GrpcTarget(
            address,
            model=model,
            api_key=server.api_key,
            credentials=server.credentials,
            timeout_s=server.timeout_s,
        )
    from tokenwire.cli.bench.rest_target import RestTarget  # httpx comes with an extra

    return RestTarget(address, model=model, api_key=server.api_key, timeout_s=server.timeout_s)


def _show(point: Point) -> None:
    length = "" if point.prompt_tokens is None else f", prompts of {point.prompt_tokens} tokens"
    print(f"{point.streams} streams{length} …", file=sys.stderr)


def _report_errors(measured: Sequence[Measured]) -> int:
    """Print each error with its count; 1 if there are any."""
    failed = False
    for one in measured:
        for name, rounds in one.rounds.items():
            for message, count in Figures.of(rounds).errors.items():
                failed = True
                print(f"{name}, {one.point.streams} streams: {count} × {message}", file=sys.stderr)
    return int(failed)
