"""Write a picture of every page, for a phone and a desk, light and dark, so that a person can look.

``python -m tests.entrypoints.pages.screenshots FOLDER``
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.entrypoints.pages.browser import Window, a_window
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import starting

PAGES = {
    "ana": (
        "/operator",
        "/operator/events",
        "/operator/events/hot-1",
        "/operator/events/hot-1/change",
        "/operator/events/hot-1/replay",
        "/operator/new-event",
        "/operator/fleet",
        "/operator/map",
        "/operator/health",
        "/operator/trail",
    ),
    "rosa": ("/owner", "/owner/events", "/owner/data"),
}
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


async def write_pictures(folder: Path) -> int:
    """Write the pictures and return how many there are."""
    with tempfile.TemporaryDirectory() as state_dir:
        suburb = await a_suburb(Path(state_dir), homes=60)
        await _fill(suburb)
        async with a_window(suburb) as window:
            return sum([await _pictures_of(window, name, folder) for name in PAGES])


async def _fill(suburb: Suburb) -> None:
    """Let an evening happen: an event that holds its target, with one home that opted out and one silent."""
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.12", minutes=120, name="EEA 2",
        actor="staff:ana",
    )  # fmt: skip
    await suburb.pass_time(300)
    await send(await logged_in(suburb, "rosa"), "/owner/sites/s-001/opt-outs/hot-1")
    await suburb.pass_time(1500)


async def _pictures_of(window: Window, name: str, folder: Path) -> int:
    written = 0
    for size, (width, height) in SIZES.items():
        for dark in (False, True):
            page = await window.open(width=width, height=height, dark=dark)
            await window.log_in(page, name)
            for path in PAGES[name]:
                await page.goto(f"{window.address}{path}")
                picture = f"{path.strip('/').replace('/', '-')}-{size}-{'dark' if dark else 'light'}.png"
                await page.screenshot(path=folder / picture, full_page=True)
                written += 1
    return written


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{asyncio.run(write_pictures(Path(sys.argv[1])))} pictures\n")
