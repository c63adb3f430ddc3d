"""Waiting for what happens elsewhere: in another process, on the wire, in the database."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

LOOK_EVERY_S = 0.03
HOMES_AT_ONCE = 2000


def times_busy() -> float:
    """Return how many processes wait for each processor of this machine, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def times_many(homes: int) -> float:
    """Return how much longer so many homes take to speak, or a controller to answer them, at least 1."""
    return max(1.0, homes / HOMES_AT_ONCE)


async def until(holds: Callable[[], Awaitable[bool]], within_s: float) -> bool:
    """Return whether something holds before so many seconds of a machine with nothing else to do are over."""
    began = time.monotonic()
    while not await holds():
        if time.monotonic() - began > within_s * times_busy():
            return False
        await asyncio.sleep(LOOK_EVERY_S)
    return True
