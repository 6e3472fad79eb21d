"""Measures several servers in turns, point by point, so that all of them see the same minutes of the machine."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tokenwire.cli.bench.grpc_target import GrpcTarget
from tokenwire.cli.bench.load import Round, measure
from tokenwire.cli.bench.prompts import make_prompts
from tokenwire.cli.bench.targets import Target

_WARM_UP_TOKENS = 8

Turn = Callable[[str], AbstractContextManager[object]]
"""Entered with the name of the target that is about to be used."""


@dataclass(frozen=True, slots=True)
class Point:
    """One kind of load."""

    streams: int
    prompt_tokens: int | None
    """Of the user's message; None where prompts have the length that they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is sent at each point, to every target alike."""

    points: Sequence[Point]
    rounds: int
    requests: int
    """Of each stream in a round."""
    max_tokens: int
    prompts: Path | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of every target at one point, by the targets' names."""

    point: Point
    rounds: Mapping[str, Sequence[Round]]


async def compare(
    targets: Sequence[Target],
    plan: Plan,
    *,
    turn: Turn = nullcontext,
    on_point: Callable[[Point], None] = lambda point: None,
) -> list[Measured]:
    """Measure every point: a short round to warm up, then the rounds, in each of them one target after the other.

    All targets get the same prompts, and no prompt comes twice: nothing comes out of a prefix cache but the beginning
    of the template. Raises `RequestFailedError` if prompts cannot be cut to length.
    """
    prompts: dict[int | None, AsyncIterator[str]] = {}
    measured = []
    for point in plan.points:
        on_point(point)
        if point.prompt_tokens not in prompts:
            prompts[point.prompt_tokens] = _prompts(targets, plan, point, turn=turn)
        measured.append(await _measure(targets, plan, point, prompts[point.prompt_tokens], turn=turn))
    return measured


async def _measure(
    targets: Sequence[Target], plan: Plan, point: Point, prompts: AsyncIterator[str], *, turn: Turn
) -> Measured:
    rounds: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(-1, plan.rounds):
        is_warm_up = number < 0
        max_tokens = min(_WARM_UP_TOKENS, plan.max_tokens) if is_warm_up else plan.max_tokens
        requests = point.streams * (1 if is_warm_up else plan.requests)
        texts = [await anext(prompts) for _ in range(requests)]
        for target in targets:
            with turn(target.name):
                one = await measure(target, texts, streams=point.streams, max_tokens=max_tokens)
            if not is_warm_up:
                rounds[target.name].append(one)
    return Measured(point, rounds)


def _prompts(targets: Sequence[Target], plan: Plan, point: Point, *, turn: Turn) -> AsyncIterator[str]:
    """Cut by the first target that lends its tokenizer."""
    tokenizer = next((target for target in targets if isinstance(target, GrpcTarget)), None)
    if tokenizer is None:
        return make_prompts(file=plan.prompts, prompt_tokens=point.prompt_tokens)

    async def cut(text: str, num_tokens: int) -> str:
        with turn(tokenizer.name):
            return await tokenizer.cut(text, num_tokens)

    return make_prompts(file=plan.prompts, prompt_tokens=point.prompt_tokens, cut=cut)
