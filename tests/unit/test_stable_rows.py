"""The deterministic mode finds out how products must be cut for rows not to depend on each other."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tokenwire.engine.model.stable_rows import StableLinear, StableRows, stabilise
from tokenwire.engine.protocol import EngineStartError

WIDTH = 32


class Product(nn.Module):
    """A product whose rows come out as a library's do: changed by the number of rows, or by their place."""

    def __init__(self, error: Callable[[int], Tensor | float]) -> None:
        super().__init__()
        self._error = error

    def forward(self, x: Tensor) -> Tensor:
        return x + self._error(len(x))


def find(error: Callable[[int], Tensor | float], *, width: int = WIDTH) -> tuple[int, int | None]:
    rows = StableRows(torch.get_num_threads())
    linear = StableLinear(Product(error), rows, width=width)

    def forward(token_ids: Tensor, logit_rows: Tensor) -> Tensor:
        missing = -len(token_ids) % rows.multiple
        x = torch.cat([torch.zeros(missing), token_ids]).unsqueeze(1).expand(-1, width)
        y: Tensor = linear(x)[missing + logit_rows]
        return y

    stabilise(rows, forward, vocabulary_size=500, most_rows=200, device=torch.device("cpu"))
    return rows.multiple, rows.tile


def test_where_rows_never_change_nothing_is_done() -> None:
    assert find(lambda num_rows: 0.0) == (1, None)


def test_where_multiples_of_four_agree_batches_are_filled_up_to_them() -> None:
    assert find(lambda num_rows: 0.0 if num_rows % 4 == 0 else 1e-3) == (4, None)


def test_where_every_number_of_rows_differs_products_see_tiles_of_one_size() -> None:
    assert find(lambda num_rows: num_rows * 1e-3) == (64, 64)


def test_columns_that_do_not_fill_vectors_need_as_many_rows_as_do() -> None:
    assert find(lambda num_rows: 0.0, width=20) == (4, None)
    assert find(lambda num_rows: 0.0, width=33) == (16, None)


def test_where_the_place_in_the_product_matters_the_engine_does_not_start() -> None:
    with pytest.raises(EngineStartError, match="tiles of 64 rows: it cannot serve with --deterministic"):
        find(lambda num_rows: torch.arange(num_rows).unsqueeze(1) * 1e-3)


def test_products_have_threads_of_their_own() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def error(num_rows: int) -> float:
        seen.append(torch.get_num_threads())
        return 0.0

    StableLinear(Product(error), StableRows(before + 1), width=1)(torch.zeros(1, 1))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
