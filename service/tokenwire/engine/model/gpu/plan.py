"""What decode attention must know of a step, as one int32 vector: built on the host, moved in one copy.

Layout, in int32:
    [0] number of items, [1] offset of the items; unused up to `HEADER`.
    `RECORD` ints for each row of the batch, two records in one. Of sequence i (there are no more sequences than rows):
        first row, number of queries, number of keys, offset of its block table.
    Of row i: first item of its sequence, number of items, which query of its sequence it is. Rows of no sequence,
    which fill up a batch, have no items.
    The items, two ints each: a sequence and a split, a run of `split` keys of it.
    The block tables, one after the other.

Splits have a fixed length: what a sequence's keys are added up to, and in which order, depends on the sequence alone.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenwire.engine.model.attention import SequenceSpan

HEADER = 8
RECORD = 8
_FIRST_ROW, _NUM_QUERIES, _NUM_KEYS, _TABLE, _FIRST_ITEM, _NUM_ITEMS, _QUERY = range(7)

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """The rows of short sequences at the front of a batch."""

    ints: Tensor
    """The vector, on the host; pinned where there is a GPU."""
    num_items: int
    num_rows: int
    """Rows of the batch that it has records of."""
    queries: int
    """Rows that one item may have: 1 for decodes alone."""


def make_plan(spans: Sequence[SequenceSpan], *, num_rows: int, split: int, queries: int, pin: bool) -> DecodePlan:
    """Plan sequences of at most `queries` queries each, in `num_rows` rows or fewer."""
    num_queries = _ints([span.num_queries for span in spans])
    num_keys = _ints([span.num_keys for span in spans])
    lengths = _ints([len(span.blocks) for span in spans])
    blocks = array("i")
    for span in spans:
        blocks.extend(span.blocks)
    tables = np.cumsum(lengths, dtype=np.int32) - lengths
    num_splits = -(-num_keys // split)
    num_items = int(num_splits.sum())
    items_at = HEADER + RECORD * num_rows
    tables_at = items_at + 2 * num_items
    ints = torch.zeros(tables_at + len(blocks), dtype=torch.int32, pin_memory=pin)
    view = ints.numpy()
    view[:2] = num_items, items_at
    records = view[HEADER:items_at].reshape(num_rows, RECORD)
    sequences = records[: len(num_keys)]
    sequences[:, _FIRST_ROW] = np.cumsum(num_queries) - num_queries
    sequences[:, _NUM_QUERIES] = num_queries
    sequences[:, _NUM_KEYS] = num_keys
    sequences[:, _TABLE] = tables_at + tables
    rows = records[: num_queries.sum()]
    rows[:, _FIRST_ITEM] = np.repeat(np.cumsum(num_splits) - num_splits, num_queries)
    rows[:, _NUM_ITEMS] = np.repeat(num_splits, num_queries)
    rows[:, _QUERY] = _counting(num_queries)
    items = view[items_at:tables_at].reshape(num_items, 2)
    items[:, 0] = np.repeat(np.arange(len(num_keys)), num_splits)
    items[:, 1] = _counting(num_splits)
    view[tables_at:] = np.frombuffer(blocks, dtype=np.int32)
    return DecodePlan(ints, num_items, num_rows, queries)


def _ints(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int32)


def _counting(counts: Ints) -> Ints:
    """0 … c − 1 for each count c, one after the other."""
    ends = np.cumsum(counts, dtype=np.int32)
    return np.arange(counts.sum(), dtype=np.int32) - np.repeat(ends - counts, counts)
