"""The block pool: what is held, what is cached, what is evicted, and in which order blocks are given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.engine.scheduling.blocks import DUMMY_BLOCK, BlockPool, extend_hashes

BLOCK_SIZE = 4


def chain(token_ids: list[int], salt: bytes = b"") -> list[bytes]:
    hashes: list[bytes] = []
    extend_hashes(hashes, token_ids, BLOCK_SIZE, salt=salt)
    return hashes


def cache(pool: BlockPool, hashes: list[bytes]) -> list[int]:
    """Allocate, register and release blocks, so that they are free and cached."""
    blocks = pool.allocate(len(hashes))
    for block, block_hash in zip(blocks, hashes, strict=True):
        pool.register(block, block_hash)
    pool.release(blocks)
    return blocks


def test_only_full_blocks_are_hashed() -> None:
    assert len(chain([1] * 3)) == 0
    assert len(chain([1] * 4)) == 1
    assert len(chain([1] * 11)) == 2


def test_a_hash_covers_everything_before_its_block() -> None:
    assert chain([1, 2, 3, 4, 9, 9, 9, 9])[1] != chain([5, 6, 7, 8, 9, 9, 9, 9])[1]
    assert chain([1, 2, 3, 4], salt=b"a") != chain([1, 2, 3, 4], salt=b"b")


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 40))
def test_hashes_extended_in_two_goes_equal_those_made_at_once(token_ids: list[int], cut: int) -> None:
    hashes = chain(token_ids[:cut])
    extend_hashes(hashes, token_ids, BLOCK_SIZE)
    assert hashes == chain(token_ids)


def test_the_dummy_block_is_never_handed_out() -> None:
    pool = BlockPool(5, BLOCK_SIZE)
    assert DUMMY_BLOCK not in pool.allocate(4)
    assert pool.num_free == 0
    with pytest.raises(MemoryError, match="1 blocks were asked of the KV cache and 0 are free"):
        pool.allocate(1)


def test_the_longest_cached_prefix_is_found_and_shared() -> None:
    pool = BlockPool(10, BLOCK_SIZE)
    hashes = chain(list(range(12)))
    blocks = cache(pool, hashes)
    other = chain([*range(8), 99, 99, 99, 99])
    assert pool.match(hashes) == blocks
    assert pool.match(other) == blocks[:2]
    pool.acquire(blocks[:2])
    pool.acquire(blocks[:2])
    assert pool.ref_count(blocks[0]) == 2
    pool.check_integrity([blocks[:2], blocks[:2]])


def test_a_block_inside_a_chain_is_not_found_without_its_beginning() -> None:
    pool = BlockPool(10, BLOCK_SIZE)
    hashes = chain(list(range(12)))
    blocks = cache(pool, hashes)
    pool.forget(blocks[:1])
    assert pool.match(hashes) == []
    pool.check_integrity([])


def test_of_two_blocks_with_equal_content_the_first_is_found() -> None:
    pool = BlockPool(10, BLOCK_SIZE)
    (block_hash,) = chain([1, 2, 3, 4])
    first, second = pool.allocate(2)
    pool.register(first, block_hash)
    pool.register(second, block_hash)
    assert pool.match([block_hash]) == [first]
    assert not pool.is_cached(second)
    pool.check_integrity([[first, second]])


def test_what_was_used_longest_ago_is_evicted_first() -> None:
    pool = BlockPool(7, BLOCK_SIZE)
    chains = [chain([number] * 8) for number in range(3)]
    for hashes in chains:
        cache(pool, hashes)
    pool.acquire(used := pool.match(chains[0]))
    pool.release(used)
    for _ in range(2):
        pool.allocate(1)
    assert [len(pool.match(hashes)) for hashes in chains] == [2, 0, 2]


def test_the_end_of_a_prefix_is_evicted_before_its_beginning() -> None:
    pool = BlockPool(6, BLOCK_SIZE)
    hashes = chain(list(range(20)))
    blocks = cache(pool, hashes)
    pool.allocate(1)
    assert pool.match(hashes) == blocks[:4]


def test_blocks_without_content_are_taken_before_cached_ones() -> None:
    pool = BlockPool(8, BLOCK_SIZE)
    hashes = chain([1] * 12)
    cache(pool, hashes)
    pool.release(pool.allocate(4))
    pool.allocate(4)
    assert len(pool.match(hashes)) == 3


def test_a_new_sequence_gets_consecutive_blocks() -> None:
    pool = BlockPool(30, BLOCK_SIZE)
    blocks = pool.allocate(6, run=6)
    assert blocks == list(range(blocks[0], blocks[0] + 6))


def test_a_sequence_grows_into_the_block_behind_its_last_one() -> None:
    pool = BlockPool(100, BLOCK_SIZE)
    tables = [pool.allocate(2, run=8) for _ in range(10)]
    for _ in range(6):
        for table in tables:
            table += pool.allocate(1, after=table[-1])
    assert all(table == list(range(table[0], table[0] + 8)) for table in tables)
    pool.check_integrity(tables)


def test_growth_goes_elsewhere_when_the_next_block_is_held() -> None:
    pool = BlockPool(10, BLOCK_SIZE)
    first, second = pool.allocate(2), pool.allocate(2)
    assert second[0] == first[-1] + 1
    (block,) = pool.allocate(1, after=first[-1])
    pool.check_integrity([[*first, block], second])


def test_growth_never_evicts_the_younger_half_of_the_cache() -> None:
    pool = BlockPool(9, BLOCK_SIZE)
    old, young = chain([1] * 12), chain([2] * 16)
    growing = pool.allocate(1)
    cache(pool, old)
    young_blocks = cache(pool, young)
    assert young_blocks[0] - 1 not in growing
    pool.allocate(1, after=young_blocks[0] - 1)
    assert pool.match(young) == young_blocks


@pytest.mark.parametrize(("num_blocks", "block_size"), [(1, 16), (2, 0)])
def test_a_pool_without_a_usable_token_is_refused(num_blocks: int, block_size: int) -> None:
    with pytest.raises(ValueError, match=r"at least .*; got"):
        BlockPool(num_blocks, block_size)


@pytest.mark.parametrize("tables", [[[1]], [[1, 2], [2]], [[]], [[DUMMY_BLOCK, 1, 2]]])
def test_a_wrong_holder_is_noticed(tables: list[list[int]]) -> None:
    pool = BlockPool(6, BLOCK_SIZE)
    assert pool.allocate(2) == [1, 2]
    pool.check_integrity([[1, 2]])
    with pytest.raises(RuntimeError, match="reference counts"):
        pool.check_integrity(tables)
