"""Whoever must not wait for a database goes on without it, but blames it only for its own time."""

import asyncio
import time

import pytest

from vpp.entrypoints.operations.in_time import in_time
from vpp.ports import StoreUnavailable

PATIENCE_S = 0.3


async def three_questions() -> str:
    """Ask another thread three times, as a login is read from its rows."""
    for _ in range(3):
        await asyncio.to_thread(time.sleep, 0.001)
    return "answered"


async def test_a_held_loop_is_not_taken_for_a_database_that_hangs() -> None:
    asyncio.get_running_loop().call_soon(time.sleep, 2 * PATIENCE_S)

    assert await in_time(three_questions(), PATIENCE_S) == "answered"


async def test_a_question_that_nobody_answers_is_given_up_in_time() -> None:
    never = asyncio.Event()

    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.3 s"):
        await in_time(never.wait(), PATIENCE_S)
    never.set()
