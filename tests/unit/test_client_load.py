"""The figures of the load generator."""

from pathlib import Path

import pytest

from tokenwire.cli.load import Percentiles, percentiles
from tokenwire.cli.prompts import make_prompts
from tokenwire_client import AsyncClient


def test_percentiles_are_nearest_ranks() -> None:
    assert percentiles([float(n) for n in range(100, 0, -1)]) == Percentiles(50.0, 90.0, 99.0)
    assert percentiles([7.0]) == Percentiles(7.0, 7.0, 7.0)
    assert percentiles([]) is None


async def test_the_built_in_prompts_are_all_different() -> None:
    prompts = make_prompts(AsyncClient())
    assert len({await anext(prompts) for _ in range(500)}) == 500


async def test_prompts_come_from_a_file_in_turn(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo\n")
    prompts = make_prompts(AsyncClient(), file=file)
    seen = [await anext(prompts) for _ in range(4)]
    assert sorted(seen[:2]) == ["one", "two"]
    assert seen[2:] == seen[:2]


async def test_a_file_without_prompts_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.write_text("\n")
    with pytest.raises(ValueError, match=r"empty\.txt has no prompt"):
        await anext(make_prompts(AsyncClient(), file=file))
