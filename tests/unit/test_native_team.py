"""The threads of the pass in C: phases end, and what one has written the next one sees."""

import pytest
import torch
from torch import Tensor

from support.native import Native, needs_compiler

# A hang is in C, where no signal is handled: end the process.
pytestmark = [needs_compiler, pytest.mark.timeout(120, method="thread")]


def walked(cells: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        cells = (cells.roll(1) + cells.roll(-1)) % 1000003
    return cells


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_short_phases_follow_each_other_with_more_threads_than_processors(
    native: Native, threads: int, count: int
) -> None:
    cells = torch.arange(count) * 7919 + 1
    assert torch.equal(native.walk(threads=threads, runs=20, steps=20, cells=cells), walked(cells, 400))


def test_phases_without_tasks_end(native: Native) -> None:
    native.walk(threads=3, runs=20, steps=20, cells=torch.empty(0, dtype=torch.int64))


def test_teams_come_and_go(native: Native) -> None:
    cells = torch.arange(5)
    for _ in range(50):
        assert torch.equal(native.walk(threads=4, runs=1, steps=1, cells=cells), walked(cells, 1))
