"""The figures of a benchmark as JSON: circumstances, servers, and every round of every point."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from tokenwire.cli.bench.compare import Measured
from tokenwire.cli.bench.figures import Figures
from tokenwire.cli.bench.load import Round


def to_json(
    measured: Sequence[Measured], *, circumstances: Mapping[str, object], servers: Mapping[str, str], max_tokens: int
) -> str:
    """One document; single requests are in it as percentiles only."""
    report = {
        "circumstances": circumstances,
        "servers": servers,
        "max_tokens": max_tokens,
        "points": [
            {
                **asdict(one.point),
                "servers": {
                    name: {**asdict(Figures.of(rounds)), "rounds": [_round(each) for each in rounds]}
                    for name, rounds in one.rounds.items()
                },
            }
            for one in measured
        ],
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _round(one: Round) -> Mapping[str, object]:
    figures = asdict(Figures.of([one]))
    rates = {"output_tokens_per_s": one.output_tokens_per_s, "total_tokens_per_s": one.total_tokens_per_s}
    return {"wall_s": one.wall_s, **figures, **rates}
