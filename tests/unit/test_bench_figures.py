"""What rounds come to, in which order servers are measured, and what is written down of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tokenwire.cli.bench.circumstances import circumstances
from tokenwire.cli.bench.compare import Plan, Point, compare
from tokenwire.cli.bench.figures import Figures, Percentiles, Spread
from tokenwire.cli.bench.load import Round
from tokenwire.cli.bench.targets import Address, Usage, parse_address


def round_of(completion_tokens: int, *, first_token_s: list[float]) -> Round:
    return Round(
        errors={"full": 1},
        wall_s=2.0,
        client_cpu_s=0.5,
        prompt_tokens=4,
        completion_tokens=completion_tokens,
        first_token_s=first_token_s,
        between_tokens_s=[],
        request_s=[1.0, 2.0],
    )


def test_rates_are_medians_of_rounds_and_times_are_of_all_requests() -> None:
    rounds = [
        round_of(20, first_token_s=[0.1, 0.4]),
        round_of(10, first_token_s=[0.2, 0.3]),
        round_of(60, first_token_s=[]),
    ]
    figures = Figures.of(rounds)
    assert figures.output_tokens_per_s == Spread(median=10.0, least=5.0, most=30.0)
    assert figures.total_tokens_per_s == Spread(median=12.0, least=7.0, most=32.0)
    assert figures.first_token_s == Percentiles(p50=0.2, p90=0.4, p99=0.4)
    assert figures.between_tokens_s is None
    assert (figures.requests, figures.errors, figures.completion_tokens) == (6, {"full": 3}, 15.0)
    assert figures.client_load == 0.25


class Named:
    """A server that answers at once and remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prompts: list[str] = []

    async def describe(self) -> str:
        return self.name

    async def answer(self, prompt: str, *, max_tokens: int, on_text: Callable[[], None]) -> Usage:
        self.prompts.append(prompt)
        on_text()
        return Usage(1, 1)

    async def close(self) -> None:
        pass


async def test_servers_take_turns_in_every_round_with_the_same_prompts() -> None:
    servers = [Named("a"), Named("b")]
    turns: list[str] = []

    @contextmanager
    def turn(name: str) -> Iterator[None]:
        turns.append(name)
        yield

    plan = Plan(points=[Point(2, None), Point(1, None)], rounds=2, requests=1, max_tokens=1, prompts=None)
    measured = await compare(servers, plan, turn=turn)
    assert "".join(turns) == "ababab" * 2  # a round to warm up and two that count, at each point
    assert servers[0].prompts == servers[1].prompts
    assert len(set(servers[0].prompts)) == 3 * (2 + 1)
    assert [len(one.rounds["a"]) for one in measured] == [2, 2]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ours=grpc://[::1]:50051", Address("ours", "grpc", "[::1]:50051")),
        ("peer=http://host:8000/v1/", Address("peer", "http", "host:8000/v1")),
        ("https://host/v1?a=b", Address("host/v1?a=b", "https", "host/v1?a=b")),
    ],
)
def test_a_target_has_a_name_a_scheme_and_a_location(text: str, address: Address) -> None:
    assert parse_address(text) == address


def test_what_is_written_down_holds_no_key() -> None:
    about = circumstances(["tokenwire", "bench", "--api-key", "secret", "--api-key=secret", "--rounds", "2"])
    assert about["command"] == "tokenwire bench --api-key HIDDEN --api-key=HIDDEN --rounds 2"
