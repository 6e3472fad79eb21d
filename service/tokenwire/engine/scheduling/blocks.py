"""The pool of KV blocks: reference counts, and a prefix cache of hashed full blocks over whatever is free."""

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b

DUMMY_BLOCK = 0
"""Fills up the rows of block tables; no sequence ever holds it."""

_HASH_BYTES = 16
_SIGHT_BLOCKS = 1024
"""How far the search for a run looks: bounds the cost of an admission to some 50 µs."""


def extend_hashes(hashes: list[bytes], token_ids: Sequence[int], block_size: int, *, salt: bytes = b"") -> None:
    """Append to `hashes` the chained 128-bit hash of each full block of `token_ids` that it lacks.

    A hash covers all tokens up to the end of its block: equal hashes mean equal KV. `salt` keeps caches apart.
    """
    for start in range(len(hashes) * block_size, len(token_ids) - block_size + 1, block_size):
        digest = blake2b(hashes[-1] if hashes else salt, digest_size=_HASH_BYTES)
        digest.update(array("q", token_ids[start : start + block_size]))
        hashes.append(digest.digest())


class BlockPool:
    """Hands out blocks `1 … num_blocks - 1` of `block_size` tokens each.

    A block is held (by `ref_count` sequences) or free. A free block keeps its content and its hash until it is handed
    out again, so everything free is a cache. Free blocks stand in the order of eviction, in two halves: `_old` goes
    first, in order; a block of `_old` may also be taken out of turn, to continue a run of consecutive blocks (which
    attention on a CPU reads without a copy); the younger half is never taken before it has aged into the older one.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        if num_blocks < 2:
            raise ValueError(f"`num_blocks` must be at least 2 (block 0 is a dummy); got {num_blocks}")
        if block_size < 1:
            raise ValueError(f"`block_size` must be at least 1; got {block_size}")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._ref_counts = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._cached: dict[bytes, int] = {}
        self._old: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))
        self._young: OrderedDict[int, None] = OrderedDict()
        self._cursor = 1

    @property
    def capacity_tokens(self) -> int:
        """Tokens that all blocks hold together."""
        return (self.num_blocks - 1) * self.block_size

    @property
    def num_free(self) -> int:
        """Blocks that no sequence holds, cached ones included."""
        return len(self._old) + len(self._young)

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that `num_tokens` tokens need."""
        return -(-num_tokens // self.block_size)

    def ref_count(self, block: int) -> int:
        """Number of sequences that hold the block."""
        return self._ref_counts[block]

    def is_cached(self, block: int) -> bool:
        """Whether the prefix cache can find the block: if so, its content must never change."""
        return self._hashes[block] is not None

    def match(self, hashes: Iterable[bytes]) -> list[int]:
        """The blocks of the longest cached prefix of a chain of hashes. Takes no hold of them: see `acquire`."""
        blocks: list[int] = []
        for block_hash in hashes:
            block = self._cached.get(block_hash)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def can_allocate(self, count: int, *, beside: Iterable[int] = ()) -> bool:
        """Whether `count` blocks are free once the cached blocks `beside` are acquired."""
        return count + sum(self._ref_counts[block] == 0 for block in beside) <= self.num_free

    def acquire(self, blocks: Iterable[int]) -> None:
        """Hold cached blocks once more."""
        for block in blocks:
            if self._ref_counts[block] == 0:
                self._unlist(block)
            self._ref_counts[block] += 1
        self._age()

    def allocate(self, count: int, *, after: int | None = None, run: int = 1) -> list[int]:
        """Hand out `count` blocks, consecutive where possible, evicting what they cached.

        `after` is the last block of the sequence so far; a new sequence names none, and starts where `run` blocks, as
        many as it may ever need, are free in a row. Check `can_allocate` first; raises `MemoryError` otherwise.
        """
        if count > self.num_free:
            raise MemoryError(f"{count} blocks were asked of the KV cache and {self.num_free} are free")
        blocks: list[int] = []
        for _ in range(count):
            block = self._start_of_run(run) if after is None else after + 1
            if block not in self._old:
                block = next(iter(self._old))
            self._take(block)
            blocks.append(block)
            after = block
        return blocks

    def release(self, blocks: Sequence[int]) -> None:
        """Let go of the blocks of a sequence, in its order; the end of a prefix is evicted before its beginning."""
        for block in reversed(blocks):
            self._ref_counts[block] -= 1
            if self._ref_counts[block] > 0:
                continue
            if self._hashes[block] is None:
                self._old[block] = None
                self._old.move_to_end(block, last=False)
            else:
                self._young[block] = None
        self._age()

    def register(self, block: int, block_hash: bytes) -> None:
        """Let the prefix cache find a held, full, computed block. Of blocks of equal content the first one wins."""
        if self._cached.setdefault(block_hash, block) == block:
            self._hashes[block] = block_hash

    def forget(self, blocks: Iterable[int]) -> None:
        """Take blocks out of the prefix cache; who holds them keeps them."""
        for block in blocks:
            block_hash = self._hashes[block]
            if block_hash is not None:
                del self._cached[block_hash]
                self._hashes[block] = None

    def check_integrity(self, tables: Iterable[Sequence[int]]) -> None:
        """Raise `RuntimeError` unless each block is free, or held by just the block tables given."""
        holders = Counter(block for table in tables for block in table)
        held = [holders[block] for block in range(self.num_blocks)]
        free = {block for block in range(1, self.num_blocks) if held[block] == 0}
        hashed = {block_hash: block for block, block_hash in enumerate(self._hashes) if block_hash is not None}
        checks = {
            "reference counts equal holders": held == self._ref_counts,
            "the dummy block is not held": held[DUMMY_BLOCK] == 0,
            "the free lists hold each free block once": sorted((*self._old, *self._young)) == sorted(free),
            "the older half is no smaller": len(self._old) >= len(self._young),
            "the prefix cache and the blocks' hashes agree": hashed == self._cached,
        }
        broken = [name for name, holds in checks.items() if not holds]
        if broken:
            raise RuntimeError(f"the block pool is corrupt; not true: {'; '.join(broken)}")

    def _take(self, block: int) -> None:
        self.forget((block,))
        self._unlist(block)
        self._ref_counts[block] = 1
        self._age()

    def _unlist(self, block: int) -> None:
        del (self._old if block in self._old else self._young)[block]

    def _age(self) -> None:
        while len(self._young) > len(self._old):
            self._old[self._young.popitem(last=False)[0]] = None

    def _start_of_run(self, wanted: int) -> int:
        """Next fit: the first run of `wanted` blocks of the older half behind the last one given, or the longest seen.

        The next search starts behind all `wanted` blocks, not behind those taken at once: the sequence grows into them.
        """
        best, longest, length = next(iter(self._old)), 1, 0
        block = self._cursor
        for _ in range(min(_SIGHT_BLOCKS, self.num_blocks - 1)):
            if longest >= wanted:
                break
            length = length + 1 if block in self._old else 0
            if length > longest:
                best, longest = block - length + 1, length
            block += 1
            if block == self.num_blocks:
                block, length = 1, 0
        self._cursor = (best + wanted - 1) % (self.num_blocks - 1) + 1
        return best
