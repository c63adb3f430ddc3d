"""The operator's way before, beside and after an event in a real browser: preview, map, health, alarms."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.browser import Window, a_window
from tests.entrypoints.pages.test_browser import faults_of
from tests.entrypoints.pages.world import EVENING, PASSWORD, PROGRAM, Suburb, a_suburb
from vpp.domain.access import Role
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.notice import Alarm, NoticeKind
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations import sites, starting
from vpp.ports import Packet
from vpp.wire.openadr import Ask, encode_notification

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one browser serves all of them


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, tmp_path: Path) -> AsyncIterator[Window]:
    """Twelve homes in Alameda and four in Kern; Ana and Ben may start events, Cora approves, Vera looks."""
    suburb = await a_suburb(tmp_path)
    content = an_enrollment_file("k-1", "k-2", "k-3", "k-4", county="Kern", feeder="f-9")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.pass_time(30)
    for name, role in (
        ("ana", Role.OPERATOR), ("ben", Role.OPERATOR), ("cora", Role.APPROVER), ("vera", Role.VIEWER),
    ):  # fmt: skip
        await suburb.add(name, role)
    async with a_window(suburb, browser) as opened:
        yield opened
    assert opened.elsewhere == []
    assert opened.complaints == []


async def open_by_password(window: Window, page: Page, path: str, name: str) -> None:
    """Ask for a page as somebody who is not logged in, log in, and stand on it with its scripts running."""
    await page.goto(f"{window.address}{path}")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**{path}")


def row_of(page: Page, region: str, name: str) -> Locator:
    return page.get_by_role("region", name=region).get_by_role("row").filter(has_text=name)


async def fall_silent(suburb: Suburb, row: int, *, minutes: int) -> None:
    """Let time pass in which one home does not report."""
    for _ in range(minutes):
        suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=1))
        suburb.report(silent=[row])
        await suburb.controller.turn()


async def test_an_event_goes_from_login_over_its_preview_by_place_to_the_board(window: Window) -> None:
    page = await window.open()
    await open_by_password(window, page, "/operator/new-event", "ana")
    await page.get_by_label("Power in MW").fill("0.03")
    await page.get_by_label("Length in minutes").fill("90")
    await page.get_by_label("Name", exact=True).fill("EEA 3")
    await page.get_by_role("button", name="Preview").click()

    await expect(page.get_by_text("Nobody was commanded.")).to_be_visible()
    for region, name, homes in (
        ("By utility", "PGE", "16"), ("By county", "Alameda", "12"), ("By county", "Kern", "4"),
        ("By feeder", "f-9", "4"),
    ):  # fmt: skip
        await expect(row_of(page, region, name).get_by_role("cell", name=homes, exact=True)).to_be_visible()
    assert await faults_of(page) == []
    assert await window.suburb.desk.store.histories() == []

    await page.get_by_label("Type 0.03 to start").fill("0.3")
    await page.get_by_role("button", name="Start event").click()
    await expect(page.get_by_role("alert")).to_have_text("Type 0.03 to start. Nothing was started.")
    await expect(page.get_by_label("Type 0.03 to start")).to_have_value("0.3")
    window.complaints.clear()  # the browser reports the 422 that came before
    assert await window.suburb.desk.store.histories() == []

    await page.get_by_label("Type 0.03 to start").fill("0.03")
    await page.get_by_role("button", name="Start event").click()
    await page.wait_for_url("**/operator/events/console-*")
    await page.get_by_role("link", name="Board").click()
    await expect(page.get_by_role("heading", name="EEA 3")).to_be_visible()
    await window.suburb.pass_time(300)
    await expect(page.get_by_text("On target.")).to_be_visible()


async def test_nothing_of_what_programs_allow_is_cut_off_on_a_phone(window: Window) -> None:
    page = await window.open(width=390, height=844)
    await open_by_password(window, page, "/operator/events", "ana")

    region = page.get_by_role("region", name="Programs")
    await expect(region).to_contain_text("America/Los_Angeles")
    assert await region.evaluate("region => region.scrollWidth <= region.clientWidth")


async def test_a_preview_of_what_cannot_be_says_so_beside_the_field_and_keeps_the_rest(
    window: Window,
) -> None:
    page = await window.open(width=390, height=844)
    await open_by_password(window, page, "/operator/new-event", "ana")
    await page.get_by_label("Power in MW").fill("0.01")
    await page.get_by_label("Only these utilities").fill("Kern")
    await page.get_by_label("Length in minutes").fill("an hour")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("alert")).to_contain_text("'an hour' is not a whole number of minutes")
    window.complaints.clear()  # the browser reports the 422
    length = page.get_by_label("Length in minutes")
    await expect(length).to_be_focused()
    await expect(page.get_by_label("Only these utilities")).to_have_value("Kern")
    await length.fill("60")
    await page.keyboard.press("Enter")

    kern = row_of(page, "By county", "Kern")
    await kern.scroll_into_view_if_needed()
    await expect(kern).to_be_in_viewport()
    await expect(row_of(page, "By county", "Alameda")).to_have_count(0)


async def test_a_preview_folds_all_but_the_ten_largest_feeders_and_unfolds_them_without_a_script(
    window: Window,
) -> None:
    for number in range(11):
        ids = [f"m-{number}-{home}" for home in range(1 + number % 2)]
        content = an_enrollment_file(*ids, county="Marin", feeder=f"m-{number}")
        await sites.enroll_sites(window.suburb.desk, content=content, file_name="more.csv")
    await window.suburb.pass_time(30)
    context = await window.browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await open_by_password(window, page, "/operator/new-event", "ana")
    await page.get_by_label("Power in MW").fill("0.01")
    await page.get_by_role("button", name="Preview").click()

    largest = page.get_by_role("region", name="By feeder").get_by_role("row")
    await expect(largest).to_have_count(11)  # with the head
    await expect(largest.nth(1)).to_contain_text("f-112")
    await expect(row_of(page, "By feeder", "m-1")).to_be_visible()
    smaller = page.get_by_role("cell", name="m-10", exact=True)
    await expect(smaller).to_be_hidden()
    await page.get_by_text("3 smaller feeders").click()
    await expect(smaller).to_be_visible()
    await expect(page.get_by_role("region", name="Smaller feeders").get_by_role("row")).to_have_count(4)
    await expect(page.get_by_text("smaller counties")).to_have_count(0)


async def test_a_test_event_says_so_on_each_page_while_it_is_started_and_changed(window: Window) -> None:
    page = await window.open()
    await open_by_password(window, page, "/operator/new-event", "ana")
    banner = page.get_by_text("TEST: never paid, never counted")
    await page.get_by_label("Power in MW").fill("0.02")
    await page.get_by_label("Test: never paid, never counted").check()
    await page.get_by_role("button", name="Preview").click()
    await expect(banner).to_be_visible()
    await page.get_by_label("Type 0.02 to start").fill("0.02")
    await page.get_by_role("button", name="Start event").click()
    await expect(banner).to_be_visible()
    await window.suburb.pass_time(120)

    event_id = page.url.rpartition("/")[2]
    await page.get_by_role("link", name="Change power, length or homes").click()
    await expect(banner).to_be_visible()
    await page.get_by_label("Power in MW").fill("0.03")
    await page.get_by_label(f"Type {event_id} to change it").fill(event_id)
    await page.get_by_role("button", name="Change event").click()
    await page.wait_for_url(f"**/operator/events/{event_id}")
    await window.suburb.pass_time(300)

    await expect(page.get_by_text("On target.")).to_be_visible()
    await expect(banner).to_be_visible()
    assert window.suburb.plan(event_id).setpoint_w.sum() == 30_000


async def test_what_is_above_the_limit_waits_on_one_screen_until_a_second_person_approves_on_another(
    window: Window,
) -> None:
    await starting.start_event(
        window.suburb.desk, event_id="big-1", program_id=PROGRAM, power_mw="1.2", actor="staff:ana"
    )
    ana, cora = await window.open(), await window.open(width=390, height=844)
    for page, name in ((ana, "ana"), (cora, "cora")):
        await page.clock.install()
        await open_by_password(window, page, "/operator/events/big-1", name)
        await expect(page.get_by_text("200.0 kW of it is above its source's limit")).to_be_visible()
    await expect(ana.get_by_text("Somebody with the role approver has to approve it.")).to_be_visible()
    await expect(ana.get_by_role("button", name="Approve event")).to_have_count(0)
    board = await ana.context.new_page()
    await board.goto(f"{window.address}/operator")
    await expect(board.get_by_text("200.0 kW of it is above its source's limit")).to_be_visible()

    await cora.get_by_label("Type big-1 to approve it").fill("big-1")
    await cora.get_by_role("button", name="Approve event").click()

    await expect(cora.get_by_text("approve by staff:cora").first).to_be_visible()
    await expect(cora.get_by_role("button", name="Approve event")).to_have_count(0)
    await expect(cora.get_by_text("above its source's limit")).to_have_count(0)
    await expect(board.get_by_text("above its source's limit")).to_have_count(0)
    await window.turn_until(ana, expect(ana.get_by_text("has to approve it")).to_have_count, 0)
    await window.suburb.pass_time(60)
    assert window.suburb.plan("big-1").requested_w == 1_200_000


async def test_a_grid_event_outside_its_program_is_flagged_until_somebody_forces_it_by_its_name(
    window: Window,
) -> None:
    await window.suburb.desk.store.add_source(GridSource("caiso", None, Watts(10**6), EVENING))
    half_an_hour = encode_notification(
        Operation.CREATE, event_id="short-1", program_id=PROGRAM, name="EEA 2", created_at=EVENING,
        modified_at=EVENING, asks=(Ask(1_800, power_w=20_000),), starts_at=EVENING,
    )  # fmt: skip
    await window.suburb.controller.runner.turn([Packet("grid/v1/caiso/event", half_an_hour)])
    await window.suburb.pass_time(60)
    ben, vera = await window.open(width=390, height=844), await window.open()
    for page, name in ((ben, "ben"), (vera, "vera")):
        await page.clock.install()
        await open_by_password(window, page, "/operator/events/short-1", name)
        await expect(page.get_by_text("Outside its program: too short.")).to_be_visible()
        await expect(page.get_by_text("Nothing is dispatched unless somebody forces it.")).to_be_visible()
    await expect(vera.get_by_role("button", name="Force event")).to_have_count(0)
    assert await faults_of(ben) == []

    await ben.get_by_label("Type short-1 to dispatch it outside its program").fill("short")
    await ben.get_by_role("button", name="Force event").click()
    await expect(ben.get_by_text("Type short-1 to force this event. Nothing was changed.")).to_be_visible()
    assert window.suburb.live.plan("short-1") is None
    window.complaints.clear()  # the browser reports the 422 that came before
    await ben.get_by_label("Type short-1 to dispatch it outside its program").fill("short-1")
    await ben.get_by_role("button", name="Force event").click()

    await expect(ben.get_by_text("Forced; paid only inside the terms.")).to_be_visible()
    await expect(ben.get_by_role("button", name="Force event")).to_have_count(0)
    await expect(ben.get_by_text("force by staff:ben").first).to_be_visible()
    await window.suburb.pass_time(300)
    for page in (ben, vera):
        await window.turn_until(page, expect(page.get_by_text("On target.")).to_be_visible)
    assert window.suburb.plan("short-1").setpoint_w.sum() == 20_000

    more = encode_notification(
        Operation.UPDATE, event_id="short-1", program_id=PROGRAM, name="EEA 2", created_at=EVENING,
        modified_at=EVENING + timedelta(minutes=1), asks=(Ask(1_800, power_w=30_000),), starts_at=EVENING,
    )  # fmt: skip
    await window.suburb.controller.runner.turn([Packet("grid/v1/caiso/event", more)])
    await window.suburb.pass_time(60)
    await window.turn_until(
        ben, expect(ben.get_by_text("What was forced before goes on; the newest version")).to_be_visible
    )
    await ben.reload()
    await expect(ben.get_by_text("An earlier version is forced; the newest is stored and")).to_be_visible()
    assert window.suburb.plan("short-1").setpoint_w.sum() == 20_000


async def test_the_map_follows_what_is_delivered_and_leads_from_a_county_to_its_homes(
    window: Window,
) -> None:
    page = await window.open()
    await page.clock.install()
    await open_by_password(window, page, "/operator/map", "vera")
    await page.get_by_role("link", name="Delivered now").click()
    await page.wait_for_url("**/operator/map?*")
    await expect(row_of(page, "Counties", "Kern")).to_contain_text("0.0 kW")

    await starting.start_event(
        window.suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.012", targets=["Kern"],
        actor="staff:ana",
    )  # fmt: skip
    await window.suburb.pass_time(300)
    await window.turn_until(page, expect(row_of(page, "Counties", "Kern")).to_contain_text, "12.0 kW")
    tile = page.get_by_role("link", name="Kern: 12.0 kW, 4 homes, 4 online")
    await expect(tile).to_have_class("tile shade4")
    await tile.press("Enter")
    await expect(page.get_by_text("4 of 16 homes")).to_be_visible()
    await page.go_back()
    await page.get_by_role("region", name="Counties").get_by_role("link", name="Alameda").click()
    await expect(page.get_by_text("12 of 16 homes")).to_be_visible()


async def test_health_shows_a_home_that_falls_silent_and_leads_to_it(window: Window) -> None:
    page = await window.open()
    await page.clock.install()
    await open_by_password(window, page, "/operator/health", "vera")
    reported = page.locator("#reported")
    await expect(reported).to_contain_text("16 of 16")

    await fall_silent(window.suburb, 3, minutes=11)
    await window.turn_until(page, expect(reported).to_contain_text, "Reported within 90 s15")
    await expect(reported).to_contain_text("10 min to 1 h ago1")
    await page.get_by_role("link", name="whose newest sample is too old").click()
    await expect(page.get_by_role("link", name="s-003", exact=True)).to_be_visible()
    await expect(page.get_by_text("1 of 16 homes")).to_be_visible()


async def test_an_alarm_leads_from_the_board_to_whoever_takes_it_and_everybody_sees_who(
    window: Window,
) -> None:
    ana, ben, vera = [await window.open() for _ in range(3)]
    for page, name in ((ana, "ana"), (ben, "ben"), (vera, "vera")):
        await page.clock.install()
        await open_by_password(window, page, "/operator", name)
        await expect(page.get_by_role("heading", name="Board")).to_be_visible()
    now = window.suburb.clock.now()
    alarm = Alarm("a-1", NoticeKind.SHORTFALL, "event:hot-1", now, {"missing_w": 4_000})
    await window.suburb.desk.store.raise_alarm(alarm)
    await window.suburb.pass_time(15)

    for page in (ana, ben, vera):
        note = page.get_by_text("nobody has taken it")
        await window.turn_until(page, expect(note).to_be_visible)
        await note.get_by_role("link", name="Alarms").click()
    await expect(vera.get_by_text("nobody yet")).to_be_visible()
    await expect(vera.get_by_role("button", name="I take care of")).to_have_count(0)
    assert await faults_of(ana) == []
    await ana.get_by_role("button", name="I take care of Shortfall, event:hot-1").press("Enter")

    await expect(ana.get_by_role("cell", name=re.compile("staff:ana"))).to_be_visible()
    for page in (ben, vera):
        cell = page.get_by_role("cell", name=re.compile("staff:ana"))
        await window.turn_until(page, expect(cell).to_be_visible)
    await expect(ben.get_by_role("button", name="I take care of")).to_have_count(0)
    await window.suburb.pass_time(15)
    await ana.get_by_role("link", name="Board").click()
    await expect(ana.get_by_role("heading", name="Board")).to_be_visible()
    await expect(ana.get_by_text("nobody has taken it")).to_have_count(0)
    await ana.get_by_role("link", name="Trail").click()
    await expect(ana.get_by_role("row").filter(has_text="answer alarm")).to_contain_text("staff:ana")


@pytest.mark.parametrize("dark", [False, True])
async def test_the_fleet_on_a_phone_shows_long_names_whole_and_every_reason(
    window: Window, dark: bool
) -> None:
    name = "s-7f3a9c2e-4b1-4c8e-9f00-a1b2c3d4e5"  # as long as a name may be, nearly
    content = an_enrollment_file(name, county="San Luis Obispo", feeder="feeder-slo-1108-north")
    await sites.enroll_sites(window.suburb.desk, content=content, file_name="long.csv")
    await window.suburb.pass_time(30)
    page = await window.open(width=360, height=800, dark=dark)
    await window.log_in(page, "vera")

    await page.goto(f"{window.address}/operator/fleet?search={name}")

    link = page.get_by_role("link", name=name)
    box = await link.bounding_box()
    line_px = await link.evaluate("each => parseFloat(getComputedStyle(each).lineHeight)")
    homes = page.get_by_role("region", name="Homes")
    assert box is not None
    assert box["height"] < 2.5 * line_px
    assert await homes.evaluate("each => each.scrollWidth <= each.clientWidth")
    await expect(homes.get_by_text("ready")).to_be_in_viewport(ratio=1)
    await expect(homes.get_by_text("0 s old")).to_be_visible()
    assert await faults_of(page) == []


async def test_no_label_of_a_chart_is_cut_off_or_touches_another_on_a_phone(window: Window) -> None:
    await starting.start_event(
        window.suburb.desk, event_id="big-1", program_id=PROGRAM, power_mw="950", actor="staff:ben"
    )
    await window.suburb.pass_time(60)
    page = await window.open(width=390, height=844)
    await window.log_in(page, "vera")
    await page.goto(f"{window.address}/operator/events/big-1")

    cut_off = await page.locator("svg.chart").evaluate(
        """svg => [...svg.querySelectorAll("text")].filter(each => each.getBoundingClientRect().width
            && each.getBoundingClientRect().left < svg.getBoundingClientRect().left)
            .map(each => each.textContent)"""
    )

    touching = await page.locator("svg.chart").evaluate(
        """svg => {
            const times = [...svg.querySelectorAll("text[text-anchor=middle]")]
                .map(each => each.getBoundingClientRect()).filter(each => each.width);
            return times.slice(1).filter((each, place) => each.left < times[place].right + 8).length;
        }"""
    )

    await expect(page.locator("svg.chart").get_by_text("1000 MW")).to_be_visible()
    assert (cut_off, touching) == ([], 0)
