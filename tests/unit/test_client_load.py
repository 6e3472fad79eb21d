"""The load generator's prompts and percentiles."""

from pathlib import Path

import pytest

from tokenwire.cli.bench.figures import Percentiles, percentiles
from tokenwire.cli.bench.prompts import make_prompts


def test_percentiles_are_nearest_ranks() -> None:
    assert percentiles([float(n) for n in range(100, 0, -1)]) == Percentiles(50.0, 90.0, 99.0)
    assert percentiles([7.0]) == Percentiles(7.0, 7.0, 7.0)
    assert percentiles([]) is None


async def test_the_built_in_prompts_are_all_different() -> None:
    prompts = make_prompts()
    assert len({await anext(prompts) for _ in range(500)}) == 500


async def test_prompts_come_from_a_file_in_turn(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo\n")
    prompts = make_prompts(file=file)
    seen = [await anext(prompts) for _ in range(4)]
    assert sorted(seen[:2]) == ["one", "two"]
    assert seen[2:] == seen[:2]


async def test_a_file_without_prompts_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "empty.txt"
    file.write_text("\n")
    with pytest.raises(ValueError, match=r"empty\.txt has no prompt"):
        await anext(make_prompts(file=file))


async def test_without_a_tokenizer_prompts_are_cut_by_words() -> None:
    prompts = make_prompts(prompt_tokens=50)
    assert [len((await anext(prompts)).split()) for _ in range(3)] == [50, 50, 50]
