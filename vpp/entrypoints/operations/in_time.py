"""Asking a database that may hang: whoever must not wait for it goes on without its answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from vpp.ports import StoreUnavailable

FoundT = TypeVar("FoundT")

SLICES = 6
"""A wait goes by in that many parts: while something else holds this very loop, the database may have
answered long since and nobody could see it; such a hold costs one part, not the whole patience."""
LEFT_MOST = 100  # questions that nobody waits for any more; a database that hangs is asked no further then
_left: set[asyncio.Task[Any]] = set()


async def in_time(question: Coroutine[Any, Any, FoundT], seconds: float) -> FoundT:
    """Return the answer to a question, which is not waited for any longer than that.

    It goes on by itself: torn off, it could leave a transaction half open, and a lock that nobody gives back.

    Raises:
        StoreUnavailable: No answer in time, or so many questions are left unanswered that none is asked.
    """
    if len(_left) >= LEFT_MOST:
        question.close()
        raise StoreUnavailable(f"{LEFT_MOST} questions wait for the database already")
    asked = asyncio.ensure_future(question)
    _left.add(asked)
    asked.add_done_callback(_answered)
    for _ in range(SLICES):
        await asyncio.wait((asked,), timeout=seconds / SLICES)
        if asked.done():
            return asked.result()
    raise StoreUnavailable(f"the database did not answer within {seconds:g} s")


def _answered(asked: asyncio.Task[Any]) -> None:
    _left.discard(asked)
    if not asked.cancelled():
        asked.exception()  # whoever waited has it; nobody else does
