"""CUDA graphs of steps without prefills: the step's hundreds of launches become one.

A graph is captured for each number of rows that is met, rounded up, when it is first met: the step is computed as it
is, which also loads its kernels, then captured and replayed, and the graph is kept if its logits are the same.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

logger = logging.getLogger("tokenwire.engine")

MOST_ROWS = 512
"""More take so long on the device that the launches hide behind it."""
_PLAN_INTS = 1 << 20


@dataclass(frozen=True, slots=True)
class StepInputs:
    """A step of short sequences, in tensors that a graph can read again."""

    token_ids: Tensor
    """[T]"""
    positions: Tensor
    """[T]"""
    write_rows: Tensor
    """[T]"""
    logit_rows: Tensor
    """[R]"""
    plan: Tensor
    """Of the attention (see plan.py)."""
    queries: int
    """Most of a sequence; see there."""


Compute = Callable[[StepInputs], Tensor]
"""Inputs to logits [R, V], in memory that the next call overwrites. Allocates nothing that outlives it."""


def padded_rows(num_rows: int) -> int:
    """The number of rows that a batch of `num_rows` is filled up to. Beyond 64, all multiples of 64 are among them."""
    if num_rows <= 8:
        return 1 << (num_rows - 1).bit_length()
    step = 8 if num_rows <= 64 else 32
    return -(-num_rows // step) * step


class StepGraphs:
    """Computes steps of short sequences, by graphs where it can."""

    def __init__(self, compute: Compute, *, device: torch.device, most_items: int) -> None:
        """`most_items`: of a plan whose splits fit the workspace that `compute` keeps for graphs."""
        self._compute = compute
        self._most_items = most_items
        self._graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Tensor] | None] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._inputs = torch.zeros(4, MOST_ROWS, dtype=torch.long, device=device)
        self._plan = torch.zeros(_PLAN_INTS, dtype=torch.int32, device=device)

    def can_run(self, *, num_rows: int, num_items: int, num_ints: int) -> bool:
        """Whether a step of that size fits the memory that graphs read and write."""
        return num_rows <= MOST_ROWS and num_items <= self._most_items and num_ints <= _PLAN_INTS

    def run(self, inputs: StepInputs, *, num_rows: int, variant: int = 0) -> Tensor:
        """Logits [R, V] of a step that is filled up to `num_rows`; the plan has records of as many, on the host or not.

        `variant`: what else `compute` depends on.
        """
        static = self._fill(inputs, num_rows)
        key = (num_rows, inputs.queries, variant)
        if key not in self._graphs:
            return self._capture(key, static)[: len(inputs.logit_rows)]
        captured = self._graphs[key]
        if captured is None:
            logits = self._compute(static)
        else:
            graph, logits = captured
            graph.replay()
        # The next step may begin before this one's log-probabilities are read.
        return logits[: len(inputs.logit_rows)].clone()

    def _fill(self, inputs: StepInputs, num_rows: int) -> StepInputs:
        """Move the inputs to where graphs read them. Filling rows write to row 0, which is of the dummy block."""
        static = self._inputs[:, :num_rows]
        for row, values in zip(
            static, (inputs.token_ids, inputs.positions, inputs.write_rows, inputs.logit_rows), strict=True
        ):
            row[: len(values)].copy_(values, non_blocking=True)
            row[len(values) :].zero_()
        self._plan[: len(inputs.plan)].copy_(inputs.plan, non_blocking=True)
        token_ids, positions, write_rows, logit_rows = static
        return StepInputs(token_ids, positions, write_rows, logit_rows, self._plan, inputs.queries)

    def _capture(self, key: tuple[int, ...], static: StepInputs) -> Tensor:
        """The logits, and a graph for the next time."""
        logits = self._compute(static).clone()
        self._graphs[key] = None
        if self._pool is None:
            return logits
        graph = torch.cuda.CUDAGraph()
        try:
            torch.cuda.synchronize()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                captured = self._compute(static)
            graph.replay()
        except RuntimeError:  # no memory, or an operation that cannot be captured
            logger.exception("no CUDA graph for %d rows", static.token_ids.shape[0])
            return logits
        if torch.equal(captured.nan_to_num(), logits.nan_to_num()):
            self._graphs[key] = graph, captured
        else:
            logger.warning("a CUDA graph for %d rows gives other logits; it is not used", static.token_ids.shape[0])
        return logits
