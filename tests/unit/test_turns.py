"""Readers take turns: a few at once, the others in line."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from tokenwire.engine.turns import MOST_AT_ONCE, Turns

WAIT_S = 10


async def test_readers_that_the_loop_keeps_up_with_do_not_wait() -> None:
    turns = Turns()
    for _ in range(3):
        for _ in range(MOST_AT_ONCE):
            assert _finishes_at_once(turns.take(is_first=False))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_those_beyond_a_few_go_on_in_the_order_in_which_they_came() -> None:
    turns = Turns()
    order: list[int] = []

    async def read(number: int) -> None:
        await turns.take(is_first=False)
        order.append(number)

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        for number in range(5 * MOST_AT_ONCE):
            group.create_task(read(number))
    assert order == list(range(5 * MOST_AT_ONCE))


async def test_other_work_gets_the_loop_while_readers_are_in_line() -> None:
    turns = Turns()
    seen: list[str] = []

    async def read() -> None:
        await turns.take(is_first=False)
        seen.append("reader")

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        for _ in range(2 * MOST_AT_ONCE):
            group.create_task(read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append("other")
    assert seen.index("other") == MOST_AT_ONCE


async def test_who_has_had_nothing_yet_goes_to_the_head_of_the_line() -> None:
    turns = Turns()
    order: list[str] = []

    async def read(name: str, *, is_first: bool = False) -> None:
        await turns.take(is_first=is_first)
        order.append(name)

    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        for _ in range(MOST_AT_ONCE):
            group.create_task(read("early"))
        group.create_task(read("late"))
        group.create_task(read("new", is_first=True))
    assert order[MOST_AT_ONCE:] == ["new", "late"]


async def test_readers_that_go_away_in_line_hold_nobody_up() -> None:
    turns = Turns()
    readers = [asyncio.create_task(turns.take(is_first=False)) for _ in range(4 * MOST_AT_ONCE)]
    await asyncio.sleep(0)
    for gone in readers[MOST_AT_ONCE:-1]:
        gone.cancel()
    await asyncio.wait_for(readers[-1], WAIT_S)
    assert all(gone.cancelled() for gone in readers[MOST_AT_ONCE:-1])


def _finishes_at_once(coroutine: Coroutine[Any, Any, None]) -> bool:
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    return False
