"""Tokenwire beside llama.cpp's server and vLLM on this machine's CPU: the same model, prompts and lengths, in turns.

make bench-peers     or     PYTHONPATH=tests python -m bench.peers [--streams 1,8,32] [--rounds 3] [--json FILE] …

llama.cpp serves the GGUF file, vLLM its weights as float32, Tokenwire both ways (`--servers` also knows
`tokenwire-int8`, and `tokenwire-plain`, which does not speculate). All servers stay loaded; the one whose turn it is
has all cores, with the load generator beside it, and the others are stopped. Prints a Markdown table.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from bench.peers.environments import LLAMA_CPP, VLLM
from bench.peers.residents import Residents
from bench.peers.servers import launches
from bench.peers.table import markdown
from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.cli.bench.compare import Measured, Plan, Point, compare
from tokenwire.cli.bench.grpc_target import GrpcTarget
from tokenwire.cli.bench.plot import plot
from tokenwire.cli.bench.report import to_json
from tokenwire.cli.bench.rest_target import RestTarget
from tokenwire.cli.bench.targets import Address, Target


async def run(addresses: Sequence[Address], plan: Plan, residents: Residents) -> tuple[dict[str, str], list[Measured]]:
    """What each server says it serves, and the figures."""
    targets: list[Target] = []
    for address in addresses:
        kind = GrpcTarget if address.scheme == "grpc" else RestTarget
        targets.append(kind(address, model=None, api_key=None, timeout_s=600))
    described = {}
    try:
        for target in targets:
            with residents.turn(target.name):
                described[target.name] = await target.describe()
        return described, await compare(targets, plan, turn=residents.turn, on_point=_show)
    finally:
        for target in targets:
            await target.close()


def _show(point: Point) -> None:
    print(f"{point.streams} streams …", file=sys.stderr, flush=True)


def main() -> None:
    """Make the environments, start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="tokenwire,tokenwire-fp32,llama.cpp,vllm", help="with commas")
    parser.add_argument("--streams", default="1,8,32", help="numbers of streams")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each number of streams")
    parser.add_argument("--max-tokens", type=int, default=96, help="tokens of each answer")
    parser.add_argument("--environments", type=Path, default=Path(".peers"), help="where the peers are installed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--plot", type=Path, help="draw them here: .png or .svg")
    arguments = parser.parse_args()
    environments = arguments.environments.resolve()
    environments.mkdir(parents=True, exist_ok=True)
    known = launches(environments)
    started = [known[name]() for name in arguments.servers.split(",")]
    plan = Plan(
        points=[Point(int(streams), None) for streams in arguments.streams.split(",")],
        rounds=arguments.rounds,
        requests=1,
        max_tokens=arguments.max_tokens,
        prompts=None,
    )
    residents = Residents(environments)
    try:
        for launch in started:
            print(f"starting {launch.address.name} …", file=sys.stderr, flush=True)
            residents.start(launch)
        described, measured = asyncio.run(run([launch.address for launch in started], plan, residents))
    finally:
        residents.close()
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "vllm": VLLM,
        "llama.cpp": LLAMA_CPP,
    }
    about = {**circumstances(sys.argv), **versions}
    print(markdown(measured), about, sep="\n\n")
    if arguments.json:
        report = to_json(measured, circumstances=about, servers=described, max_tokens=plan.max_tokens)
        arguments.json.write_text(report, encoding="utf-8")
    if arguments.plot:
        plot(measured, arguments.plot)


if __name__ == "__main__":
    main()
