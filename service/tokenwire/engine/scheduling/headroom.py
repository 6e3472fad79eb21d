"""How far running answers may still grow before others are let in beside them. Imports no torch."""

from collections.abc import Iterable

from tokenwire.engine.scheduling.sequence import Sequence

_GROWTH, _DECAY = 1.25, 0.97
"""Chosen in made-up time (tests/bench/scheduling.py): of 100 preemptions 25 are left, for 6 % more time at most."""


class Headroom:
    """Keeps newcomers from starting storms of preemptions.

    Nobody knows how long answers become. A newcomer is let in if each running sequence can grow by some more tokens
    beside it, or by as many as it may at most. How many is learned: more with each preemption for want of blocks, less
    with each sequence that ends, never less than a block.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._tokens = float(block_size)

    def note_preemption(self) -> None:
        """Somebody had to give way to the growth of others."""
        self._tokens *= _GROWTH

    def note_end(self) -> None:
        """A sequence has ended, and left room."""
        self._tokens = max(self._tokens * _DECAY, self._block_size)

    def blocks(self, running: Iterable[Sequence]) -> int:
        """Blocks that are to stay free for the growth of these sequences."""
        tokens, size = int(self._tokens), self._block_size
        total = 0
        for sequence in running:
            left = sequence.sampling.max_tokens - sequence.num_generated
            end = len(sequence.token_ids) + (tokens if tokens < left else left)
            total += max(0, -(-end // size) - len(sequence.block_table))
        return total
