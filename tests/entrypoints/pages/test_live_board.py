"""The page of the board follows by itself: events that come and go, alarms, whoever uses the keyboard."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.entrypoints.pages.browser import Window, a_window
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.domain.access import Role
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.operations import alarms, events, starting
from vpp.entrypoints.operations.board import show_board

EVENT = "hot-1"

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one browser serves all of them


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, tmp_path: Path) -> AsyncIterator[Window]:
    suburb = await a_suburb(tmp_path)
    await suburb.add("ana", Role.OPERATOR)
    async with a_window(suburb, browser) as opened:
        yield opened
    assert opened.elsewhere == []
    assert opened.complaints == []


async def begin(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id=EVENT, program_id=PROGRAM, power_mw="0.02", name="EEA 3", actor="staff:ben"
    )


async def test_an_event_appears_on_an_open_board_and_leaves_it_when_it_is_over(window: Window) -> None:
    page = await window.open()
    await window.log_in(page, "ana")
    await expect(page.get_by_text("No event is on or coming.")).to_be_visible()

    await begin(window.suburb)
    await expect(page.get_by_role("heading", name="EEA 3")).to_be_visible()
    await events.cancel_event(window.suburb.desk, event_id=EVENT, actor="staff:ben")

    await expect(page.get_by_text("No event is on or coming.")).to_be_visible()
    await expect(page.get_by_role("cell", name="cancelled")).to_be_visible()


async def test_a_board_goes_on_under_whoever_stands_on_its_link_by_keyboard(window: Window) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.log_in(page, "ana")
    link = page.get_by_role("link", name="EEA 3")
    await link.focus()

    await window.suburb.pass_time(300)

    await expect(page.get_by_text("On target.")).to_be_visible()
    await expect(link).to_be_focused()


async def test_a_board_shows_how_far_the_commands_are_of_all_homes_and_how_long_it_takes_yet(
    window: Window,
) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.suburb.pass_time(30)
    await window.log_in(page, "ana")
    commands = page.get_by_role("list", name="Commands to homes").get_by_role("listitem")
    asked = (await show_board(window.suburb.desk, event_id=EVENT))["sites"]

    await expect(commands).to_have_text([
        re.compile(rf"^\s*{count} of {asked} {word}\s*$")
        for count, word in ((asked, "sent"), (asked, "acknowledged"), (0, "delivering"), (0, "failed"))
    ])  # fmt: skip
    await expect(page.get_by_text(re.compile("on the way; all proved in about 2 min"))).to_be_visible()
    await window.suburb.pass_time(270)

    await expect(commands.nth(2)).to_have_text(re.compile(rf"●\s+{asked} of {asked} delivering"))
    await expect(page.get_by_text("on the way")).to_have_count(0)


async def test_the_page_of_an_event_that_somebody_else_ended_shows_that_it_is_over(window: Window) -> None:
    untouched, typing = await window.open(), await window.open()
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    for page in (untouched, typing):
        await window.log_in(page, "ana")
        await page.goto(f"{window.address}/operator/events/{EVENT}")
    field = typing.get_by_label(re.compile(f"Type {EVENT} to cancel"))
    await field.fill("hot")

    await events.cancel_event(window.suburb.desk, event_id=EVENT, actor="staff:ben")

    await expect(untouched.get_by_role("heading", name="Decide")).to_have_count(0)
    await expect(typing.get_by_text("The event is cancelled now.")).to_be_visible()
    await expect(field).to_have_value("hot")


async def test_whoever_cancels_is_told_of_nobody_on_the_way_and_soon_that_every_home_is_released(
    window: Window,
) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/events/{EVENT}")
    await expect(page.get_by_text("on the way")).to_be_visible()
    await page.get_by_label(re.compile(f"Type {EVENT} to cancel")).fill(EVENT)

    await page.get_by_role("button", name="Cancel event").click()

    await expect(page.get_by_text("Cancelled.")).to_be_visible()
    await expect(page.get_by_text("0 of them released")).to_be_visible()
    await expect(page.get_by_text("on the way")).to_have_count(0)
    await expect(page.get_by_text("starting")).to_have_count(0)
    await window.suburb.pass_time(15)
    await expect(page.get_by_text("all of them released")).to_be_visible(timeout=8_000)


async def test_the_page_of_an_event_that_began_a_moment_ago_gets_its_reasons_without_being_opened_again(
    window: Window,
) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/events/{EVENT}")
    await expect(page.get_by_text("Not planned yet.")).to_be_visible()

    await window.suburb.pass_time(30)

    await expect(page.get_by_role("heading", name="Why each home is in or out")).to_be_visible(timeout=8_000)


async def test_an_alarm_stands_on_the_board_until_somebody_takes_it(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path)
    await suburb.add("vera", Role.VIEWER)
    vera = await logged_in(suburb, "vera")
    alarm = Alarm("a-1", NoticeKind.SHORTFALL, "event:hot-1", suburb.clock.now(), {})
    await suburb.desk.store.raise_alarm(alarm)

    open_board = await vera.get("/operator")
    await alarms.answer_alarm(suburb.desk, key="a-1", actor="staff:ana")
    await suburb.pass_time(15)
    taken = await vera.get("/operator")

    assert re.search(
        r"Shortfall, event:hot-1, since .*Wed Sep 9, 6:00 PM PDT.*nobody has taken it", open_board.text
    )
    assert "nobody has taken it" not in taken.text


async def test_an_owners_open_page_follows_the_battery_and_the_event_that_begins(window: Window) -> None:
    await window.suburb.add("rosa", Role.OWNER, "o-s-001")
    page = await window.open(width=390, height=844)
    await page.clock.install()
    await window.log_in(page, "rosa")
    await expect(page.get_by_text("No event uses your battery now.")).to_be_visible()
    await page.get_by_label("Reserve in percent").fill("40")

    await starting.start_event(
        window.suburb.desk, event_id=EVENT, program_id=PROGRAM, power_mw="0.05", actor="staff:ben"
    )
    await window.suburb.pass_time(60)
    await window.turn_until(page, expect(page.get_by_role("heading", name="Event now")).to_be_visible)
    await expect(page.get_by_text("Your battery is working for the event.")).to_be_visible()
    await expect(page.get_by_label("Reserve in percent")).to_have_value("40")
    await page.get_by_role("button", name="Opt out of this event").click()
    await expect(page.get_by_text("You opted out.")).to_be_visible()


async def test_a_page_that_answered_a_form_follows_too(window: Window) -> None:
    await window.suburb.add("rosa", Role.OWNER, "o-s-001")
    page = await window.open()
    await page.clock.install()
    await begin(window.suburb)
    await window.log_in(page, "rosa")
    await events.cancel_event(window.suburb.desk, event_id=EVENT, actor="staff:ben")
    await page.get_by_role("button", name="Opt out of this event").click()
    await expect(page.get_by_text("was cancelled or is over")).to_be_visible()
    window.complaints.clear()  # the browser reports the 409 that came before

    await starting.start_event(
        window.suburb.desk, event_id="hot-2", program_id=PROGRAM, power_mw="0.05", actor="staff:ben"
    )
    await window.turn_until(page, expect(page.get_by_role("heading", name="Event now")).to_be_visible)
    await expect(page.get_by_text("gets no answer")).to_be_hidden()


async def test_a_page_that_gets_no_answer_shows_nothing_as_live(window: Window) -> None:
    await window.suburb.add("rosa", Role.OWNER, "o-s-001")
    for name, path, note in (
        ("rosa", "/owner", "this page gets no answer"),
        ("ana", "/operator/fleet", "What stands below is old"),
        ("ana", "/operator/health", "What stands below is old"),
    ):
        page = await window.open()
        await page.clock.install()
        await window.log_in(page, name)
        await page.goto(f"{window.address}{path}")
        await expect(page.get_by_text(note)).to_be_hidden()

        await page.evaluate("() => { window.fetch = () => Promise.reject(new Error('cut')); }")
        await window.turn_until(page, expect(page.get_by_text(note)).to_be_visible)
