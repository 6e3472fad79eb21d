"""What a step works on, and where the chunks of a sequence may begin and end. Imports no torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from tokenwire.engine.scheduling.sequence import Sequence

_LEAST_FIXED_TOKENS = 64
"""Fewer make the prefill slow, more make prefix-cache hits rare."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens `[start, start + count)` of a running sequence; its block table has room for their KV."""

    sequence: Sequence
    start: int
    count: int
    samples: bool
    """Whether the step samples a token from the logits of the last one: it is the newest token of the sequence."""
    drafts: tuple[int, ...] = ()
    """Guesses at the tokens behind it, in a chunk that samples; there is room for their KV as well. The step samples
    behind each as long as they prove right."""
    scored: range = range(0)
    """Positions of the prompt, in the chunk, whose log-probabilities of the next prompt token are asked."""

    @property
    def is_decode(self) -> bool:
        """Whether it takes the newest token of an answer, and nothing before it."""
        return self.count == 1 and self.start >= self.sequence.num_prompt_tokens

    @property
    def end(self) -> int:
        """Position behind its last token."""
        return self.start + self.count

    @property
    def positions(self) -> range:
        """Those that the step computes: of its tokens, then of its drafts."""
        return range(self.start, self.end + len(self.drafts))

    @property
    def token_ids(self) -> list[int]:
        """At its positions."""
        return [*self.sequence.token_ids[self.start : self.end], *self.drafts]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The work of one step, at most one chunk a sequence: running ones, then new ones, each in order of service."""

    chunks: tuple[Chunk, ...]

    @property
    def num_tokens(self) -> int:
        """Rows of the forward pass."""
        return sum(chunk.count + len(chunk.drafts) for chunk in self.chunks)

    @property
    def num_decode_tokens(self) -> int:
        """Those of its rows that are of decodes."""
        return sum(chunk.count + len(chunk.drafts) for chunk in self.chunks if chunk.is_decode)

    @property
    def num_samples(self) -> int:
        """Chunks that the step samples from."""
        return sum(chunk.samples for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Chunking:
    """Where sequences may be cut.

    By default anywhere: a step's budget decides. In deterministic mode the KV of a token must not depend on what else
    ran, not even by a rounding. So a prompt is cut at the multiples of `size` and nowhere else, the tokens behind it
    are computed one by one, and only whole chunks of prompts are shared.
    """

    size: int | None = None
    """Tokens of a chunk of a prompt, a multiple of the block size; None: any number."""

    @classmethod
    def fixed(cls, block_size: int) -> "Chunking":
        """The chunks of the deterministic mode."""
        return cls(-(-_LEAST_FIXED_TOKENS // block_size) * block_size)

    @property
    def least_tokens(self) -> int:
        """Budget with which every sequence can get on."""
        return self.size or 1

    def count(self, sequence: Sequence, budget: int) -> int:
        """Tokens of its next chunk, at most `budget`; not positive where it cannot get on with so few."""
        remaining = sequence.num_tokens - sequence.num_computed
        end = sequence.num_computed + min(remaining, budget)
        if self.size is not None and end < sequence.num_prompt_tokens:
            end = end // self.size * self.size
        return end - sequence.num_computed

    def num_shareable(self, sequence: Sequence) -> int:
        """Tokens of its beginning whose KV may go to the prefix cache, or come from it."""
        if self.size is None:
            return sequence.num_tokens
        return sequence.num_prompt_tokens // self.size * self.size

    def pieces(self, chunk: Chunk) -> Iterator[range]:
        """The positions of a chunk, cut into those that attention works on together."""
        if self.size is None:
            yield chunk.positions
            return
        start, prompt = chunk.start, chunk.sequence.num_prompt_tokens
        while start < chunk.positions.stop:
            end = start + 1 if start >= prompt else min(start // self.size * self.size + self.size, prompt)
            yield range(start, end)
            start = end


def check_step_budget(max_step_tokens: int, *, max_running: int, block_size: int, chunking: Chunking) -> None:
    """Raise `ValueError` unless a full batch leaves room for a block, or a fixed chunk, of somebody's prompt."""
    if max_running < 1:
        raise ValueError(f"`max_running` must be at least 1; got {max_running}")
    if max_step_tokens < max_running + (least := max(block_size, chunking.least_tokens)):
        room = "`block_size`" if chunking.size is None else f"{chunking.size} (a chunk in deterministic mode)"
        raise ValueError(
            f"`max_step_tokens` must be at least `max_running` + {room} = {max_running + least}, "
            f"so that prompts get on beside {max_running} running sequences; got {max_step_tokens}"
        )
