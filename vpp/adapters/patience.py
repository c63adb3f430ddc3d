"""How long a stop waits for the database: a second, then it leaves before its commit."""

import asyncio
from collections.abc import Awaitable, Callable

STOPS_WAIT_S = 1.0


async def stops_leave_first(commit: Awaitable[None], meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Wait for a commit; once a second has passed, do something else and go on waiting."""
    committing = asyncio.ensure_future(commit)
    try:
        done, _ = await asyncio.wait((committing,), timeout=STOPS_WAIT_S)
        if not done:
            await meanwhile()
        await committing
    finally:
        committing.cancel()  # whoever waited was told to stop
