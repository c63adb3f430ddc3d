"""Write a picture of every page, for a phone and a desk, light and dark, so that a person can look.

``python -m tests.entrypoints.pages.screenshots FOLDER``; with ``readme`` in place of a folder, the one
picture that the README shows.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.browser import Window, a_browser, a_window
from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.operations import contacts, disputes, events, metering, money, sites, starting
from vpp.entrypoints.operations.evening import keep_course

PAGES = {
    "ana": (
        "/operator",
        "/operator/events",
        "/operator/events/hot-1",
        "/operator/events/test-1",
        "/operator/events/hot-1/change",
        "/operator/events/hot-1/replay",
        "/operator/events/hot-1/sites/s-001",
        "/operator/new-event",
        "/operator/fleet",
        "/operator/map",
        "/operator/health",
        "/operator/alarms",
        "/operator/questions",
        "/operator/trail",
        f"/operator/programs/{PROGRAM}/fairness",
    ),
    "rosa": ("/owner", "/owner/events", "/owner/data", "/owner/sites/s-001/leaving"),
}
MORE = {
    "ana": (
        "/operator/sites/s-001?reason=look",
        "/operator/fleet?proof=refused",
        "/operator/events/hot-1/replay?floor=70",
        "/operator/nowhere",
    ),
    "rosa": ("/owner/events/hot-0", "/owner/events/hot-00", "/owner/forgetting", "/owner/nowhere"),
}
"""Pages that need the evening below, or that nobody wants to see."""
SIZES = {"desk": (1280, 900), "phone": (390, 844)}


PREVIEW = {"power_mw": "0.1", "minutes": "90"}
PLACES = (("fresno", "Fresno", "f-7", 14), ("kern", "Kern", "f-9", 9), ("la", "Los Angeles", "f-20", 6))
README_PICTURE = Path(__file__).resolve().parents[3] / ".github" / "board.png"


async def write_pictures(folder: Path) -> int:
    """Write the pictures and return how many there are."""
    async with a_browser() as browser, _evening(browser) as window:
        await _somebody_waits(window.suburb)
        return sum([await _pictures_of(window, name, folder) for name in PAGES])


async def write_readme_picture(path: Path, browser: Browser) -> None:
    """Write the picture of the board, small enough for a README."""
    async with _evening(browser) as window:
        page = await window.open(width=1000, height=1000)
        await window.log_in(page, "ana")
        await page.goto(f"{window.address}/operator")
        await page.screenshot(path=path)


@contextlib.asynccontextmanager
async def _evening(browser: Browser) -> AsyncIterator[Window]:
    with tempfile.TemporaryDirectory() as state_dir:
        suburb = await a_suburb(Path(state_dir), homes=24)
        await _fill(suburb)
        async with a_window(suburb, browser) as window:
            yield window


async def _fill(suburb: Suburb) -> None:
    """Let an evening happen: an event on target, one home that opted out, two that fell silent, a test.

    The evening before had two events, one of which paid.
    """
    for word, county, feeder, homes in PLACES:
        ids = [f"{word}-{number}" for number in range(homes)]
        content = an_enrollment_file(*ids, county=county, feeder=feeder)
        await sites.enroll_sites(suburb.desk, content=content, file_name="sites.csv")
    await suburb.pass_time(15)
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    await an_evening_before(suburb)
    for event_id, name, starts_at, test in (
        ("hot-1", "EEA 2", "now", False),
        ("test-1", "Test before the weekend", "2026-09-11T17:00", True),
    ):
        await starting.start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.12", minutes=120, name=name,
            starts_at=starts_at, test=test, actor="staff:ana",
        )  # fmt: skip
    await suburb.pass_time(300)
    await send(await logged_in(suburb, "rosa"), "/owner/sites/s-001/opt-outs/hot-1")
    await suburb.pass_time(1200)
    for _ in range(20):
        suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=15))
        suburb.report(silent=(3, 26))
        await suburb.controller.turn()
        await keep_course(suburb.desk)


async def _somebody_waits(suburb: Suburb) -> None:
    """Let an owner ask something, and let an alarm stand that nobody took."""
    await disputes.ask_dispute(
        suburb.desk, owner_id="o-s-001", period="hot-0", text="Why is the last hour missing?",
        actor="owner:o-s-001",
    )  # fmt: skip
    facts = {
        "count": "2", "name": "EEA 2 of yesterday", "program": "ELRP A.4", "zone": "America/Los_Angeles",
        "starts_at": "2026-09-10T01:02:00Z", "ends_at": "2026-09-10T02:02:00Z",
    }  # fmt: skip
    alarm = Alarm("a-1", NoticeKind.COUNTERS_DOUBTED, "hot-0", suburb.clock.now(), facts)
    await suburb.desk.store.raise_alarm(alarm)


async def an_evening_before(suburb: Suburb) -> None:
    """Let an event be called off and another one end; its meter readings come, and it is settled."""
    for event_id, name, minutes in (("hot-00", "False alarm", 60), ("hot-0", "EEA 2 of yesterday", 60)):
        await starting.start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.06", minutes=minutes, name=name,
            actor="staff:ana",
        )  # fmt: skip
        await suburb.pass_time(60)
        if event_id == "hot-00":
            await events.cancel_event(suburb.desk, event_id=event_id, actor="staff:ana")
            await suburb.pass_time(60)
    await suburb.pass_time(3600)
    content = meter_file("s-001", suburb.clock.now())
    await metering.import_readings(suburb.desk, content=content, file_name="meter.csv")
    for event_id in ("hot-00", "hot-0"):
        await money.settle_event(suburb.desk, event_id=event_id)
    suburb.clock.step_to(EVENING + timedelta(days=1))
    suburb.report()


def meter_file(site_id: str, now: datetime) -> bytes:
    """Return half-hourly readings of three weeks up to now: a little each evening, much on the last."""
    lines = ["site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"]
    discharged_wh, at = 100_000, EVENING - timedelta(days=21)
    while at <= now:
        lines.append(f"{site_id},{at:%Y-%m-%dT%H:%M:%SZ},{discharged_wh},90000,,,OK")
        in_event = at >= EVENING
        discharged_wh += 2_150 if in_event else 210 + at.day % 7 * 10 if at.hour in (0, 1, 2) else 0
        at += timedelta(minutes=30)
    return ("\n".join(lines) + "\n").encode()


async def _pictures_of(window: Window, name: str, folder: Path) -> int:
    written = 0
    for size, (width, height) in SIZES.items():
        for dark in (False, True):
            page = await window.open(width=width, height=height, dark=dark)
            await window.log_in(page, name)
            look = f"{size}-{'dark' if dark else 'light'}"
            for path in PAGES[name] + MORE[name]:
                await page.goto(f"{window.address}{path}")
                plain = path.partition("?")[0].strip("/").replace("/", "-") + "-more" * ("?" in path)
                await _take(page, folder / f"{plain}-{look}.png")
                written += 1
            if name == "rosa":
                written += await _in_spanish(window, page, folder, look)
            if name == "ana":
                await _preview(window, page)
                await _take(page, folder / f"operator-preview-{look}.png")
                written += 1
    return written


async def _in_spanish(window: Window, page: Page, folder: Path, look: str) -> int:
    paths = PAGES["rosa"] + MORE["rosa"]
    await contacts.speak(window.suburb.desk, owner_id="o-s-001", language="es")
    for path in paths:
        await page.goto(f"{window.address}{path}")
        await _take(page, folder / f"es-{path.strip('/').replace('/', '-')}-{look}.png")
    await contacts.speak(window.suburb.desk, owner_id="o-s-001", language="en")
    return len(paths)


async def _take(page: Page, path: Path) -> None:
    await page.screenshot(path=path, full_page=True)


async def _preview(window: Window, page: Page) -> None:
    """Ask for a preview as a person would."""
    await page.goto(f"{window.address}/operator/new-event")
    await page.get_by_label("Power in MW").fill(PREVIEW["power_mw"])
    await page.get_by_label("Length in minutes").fill(PREVIEW["minutes"])
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_role("button", name="Start event").wait_for()


async def _write_readme_picture() -> None:
    async with a_browser() as browser:
        await write_readme_picture(README_PICTURE, browser)


def main() -> int:
    """Write the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", help="where the pictures go, or the word readme")
    folder = parser.parse_args().folder
    if folder == "readme":
        README_PICTURE.parent.mkdir(exist_ok=True)
        asyncio.run(_write_readme_picture())
        return 0
    Path(folder).mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{asyncio.run(write_pictures(Path(folder)))} pictures\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
