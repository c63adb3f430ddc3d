"""How far open boards are behind: seconds from an operator's cancel to what a board shows.

Once a board in a browser, which asks again by itself, and once the last of 500 boards that one process
tells by server-sent events.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from playwright.async_api import expect

from tests.benchmarks.measuring import ROUNDS, Figure, at_most, often
from tests.entrypoints.pages.browser import Window, a_browser, a_window, serving
from tests.entrypoints.pages.follower import Follower
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.access import Role
from vpp.entrypoints.operations import events, starting

BOARDS = at_most(500)


async def run() -> list[Figure]:
    """Measure one board in a browser, several times, and five hundred streams at once."""
    with tempfile.TemporaryDirectory() as folder:
        suburb = await a_suburb(Path(folder))
        await suburb.add("ana", Role.OPERATOR)
        async with a_browser() as browser, a_window(suburb, browser) as window:
            shown_s = [await _until_shown(window, f"hot-{number}") for number in range(2, 2 + often(ROUNDS))]
        told_s = await _until_all_are_told(suburb)
    return [
        Figure("board in a browser", statistics.median(shown_s), "s"),
        Figure(f"last of {BOARDS} boards that are streamed", told_s, "s"),
    ]


async def _begin(suburb: Suburb, event_id: str) -> None:
    await starting.start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.02", name=event_id, actor="staff:ana"
    )
    await suburb.pass_time(60)


async def _cancel(suburb: Suburb, event_id: str) -> float:
    """Cancel an event; return when, in seconds of this process's own clock."""
    at = time.perf_counter()
    await events.cancel_event(suburb.desk, event_id=event_id, actor="staff:ana")
    return at


async def _until_shown(window: Window, event_id: str) -> float:
    await _begin(window.suburb, event_id)
    page = await window.open()
    await window.log_in(page, "ana")
    await expect(page.get_by_role("heading", name=event_id)).to_be_visible()
    cancelled_at = await _cancel(window.suburb, event_id)
    await expect(page.get_by_text("No event is on or coming.")).to_be_visible()
    took_s = time.perf_counter() - cancelled_at
    await page.context.close()
    return took_s


async def _until_all_are_told(suburb: Suburb) -> float:
    await _begin(suburb, "hot-1")
    async with serving(suburb) as address:
        followers = [await Follower.at(address) for _ in range(BOARDS)]
        for follower in followers:
            await follower.until("board")
        cancelled_at = await _cancel(suburb, "hot-1")
        await asyncio.gather(*(follower.until("board", state="cancelled") for follower in followers))
        took_s = time.perf_counter() - cancelled_at
        for follower in followers:
            follower.close()
    return took_s
