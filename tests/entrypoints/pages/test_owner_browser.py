"""The owner's pages in a real browser: from login to result on a phone, by keyboard, in Spanish."""

import re
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.browser import Window, a_window
from tests.entrypoints.pages.screenshots import an_evening_before
from tests.entrypoints.pages.test_browser import faults_of, width_of
from tests.entrypoints.pages.world import PASSWORD, PROGRAM, Suburb, a_suburb
from vpp.domain.access import Role
from vpp.entrypoints.operations import contacts, events, money, sites, starting

SITE = "s-001"
OWNER = f"o-{SITE}"


pytestmark = pytest.mark.asyncio(loop_scope="session")  # one browser serves all of them


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, tmp_path: Path) -> AsyncIterator[Window]:
    suburb = await a_suburb(tmp_path)
    await suburb.add("rosa", Role.OWNER, OWNER)
    async with a_window(suburb, browser) as opened:
        yield opened
    assert opened.elsewhere == []


async def begin(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
    )


async def a_phone(window: Window) -> Page:
    page = await window.open(width=390, height=844)
    await window.log_in(page, "rosa")
    return page


async def test_an_owner_opts_out_is_told_it_is_too_late_and_finds_the_event_in_the_history(
    window: Window,
) -> None:
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    page = await a_phone(window)
    await page.get_by_role("button", name="Opt out of this event").press("Enter")
    await expect(page.get_by_text("You opted out.")).to_be_visible()
    await page.get_by_role("button", name="Take part after all").press("Enter")
    await expect(page.get_by_text("You are back in.")).to_be_visible()

    await events.cancel_event(window.suburb.desk, event_id="hot-1", actor="staff:ana")
    await page.get_by_role("button", name="Opt out of this event").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("was cancelled or is over")
    await page.get_by_role("link", name="Events and money").click()
    await page.get_by_role("link", name="Wed Sep 9, 2026").click()

    await expect(page.get_by_role("heading", name="Wed Sep 9, 2026, 6:00 PM PDT")).to_be_visible()
    window.complaints.clear()  # the browser reports the 409 that is the subject here


async def test_an_owner_reads_everything_in_spanish_and_leaves_by_keyboard(window: Window) -> None:
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    page = await a_phone(window)
    await page.get_by_role("button", name="Español").press("Enter")
    await expect(page.get_by_role("heading", name="Mi batería")).to_be_visible()
    await expect(page.get_by_text("20 % deja unas 3 h de respaldo")).to_be_visible()
    await page.get_by_role("link", name="Mis datos").click()
    await page.get_by_role("link", name="Dejar el programa").click()
    await page.get_by_label("Para salir con s-001, escriba SALIR").fill("no")
    await page.keyboard.press("Enter")
    field = page.get_by_label("Para salir con s-001, escriba SALIR")
    await expect(page.get_by_role("alert")).to_contain_text("Nada cambió")
    await expect(field).to_have_value("no")
    await field.fill("salir")
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("status")).to_contain_text("Usted dejó el programa")
    await window.suburb.controller.turn()
    assert not window.suburb.live.busy(window.suburb.clock.now())[1]
    assert (await window.suburb.desk.enrollment(SITE)).withdrawn_at is not None


async def test_a_reserve_costs_what_the_charge_at_the_beginning_leaves_of_a_usual_event(
    window: Window,
) -> None:
    await an_evening_before(window.suburb)
    page = await a_phone(window)
    slider = page.get_by_label("Reserve in percent")
    says = page.locator("form.reserve output")
    await slider.fill("40")
    await expect(says).to_contain_text(
        "costs you nothing in a usual event. Dollars are counted from the 79 %"
    )
    await slider.fill("60")
    await expect(says).to_contain_text("per event less than now. Dollars are counted from the 79 % that your")

    window.suburb.clock.step_to(window.suburb.clock.now() + timedelta(seconds=30))
    window.suburb.report(charge_permille=300)
    await page.reload()
    await slider.fill("40")

    await expect(says).to_contain_text("per event less than now. Dollars are counted from a charge of 53 %")
    await page.get_by_role("button", name="Español").press("Enter")
    await expect(says).to_contain_text("con la que como mínimo empezaron sus últimos eventos")


async def test_what_a_higher_reserve_costs_is_still_said_after_it_is_saved(window: Window) -> None:
    await an_evening_before(window.suburb)
    window.suburb.clock.step_to(window.suburb.clock.now() + timedelta(seconds=30))
    window.suburb.report(charge_permille=600)
    page = await a_phone(window)
    slider = page.get_by_label("Reserve in percent")
    says = page.locator("form.reserve output")
    await expect(says).to_contain_text("in an event")
    usual = re.search(r"about \$(\d+) in an event", await says.inner_text())
    await slider.fill("40")
    await expect(says).to_contain_text("per event less")
    costs = re.search(r"about \$(\d+) per event less", await says.inner_text())

    await page.get_by_role("button", name="Save reserve").click()
    await expect(page.get_by_role("status").first).to_contain_text("reserve is saved")
    await expect(says).to_contain_text("in an event")  # the page's script adds it
    left = re.search(r"about \$(\d+) in an event", await says.inner_text())

    assert usual is not None
    assert costs is not None
    assert left is not None
    assert int(left[1]) == int(usual[1]) - int(costs[1])
    assert "from the 60 % that your battery holds now" in await says.inner_text()


async def test_an_owner_is_shown_no_keys_of_staff(window: Window) -> None:
    page = await window.open()
    await window.log_in(page, "rosa")
    await page.keyboard.press("?")

    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_an_owner_is_written_to_takes_everything_along_and_opens_a_calendar(window: Window) -> None:
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    page = await a_phone(window)
    await page.get_by_role("link", name="My data").click()
    await page.get_by_label("E-mail address").fill("rosa at home")
    await page.get_by_label("it is about to start").uncheck()
    await page.get_by_role("button", name="Save").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("rosa at home is neither an e-mail address")
    await expect(page.get_by_label("it is about to start")).not_to_be_checked()
    await page.get_by_label("E-mail address").fill("rosa@example.org")
    await page.get_by_role("button", name="Save").press("Enter")
    await expect(page.get_by_text("Saved.")).to_be_visible()
    kept = await contacts.show_contact(window.suburb.desk, owner_id=OWNER)
    assert (kept["address"], kept["muted"]) == ("rosa@example.org", ["starting"])

    await page.wait_for_load_state()  # a key pressed while a page still loads may be lost
    await page.get_by_role("button", name="Make a calendar address").press("Enter")
    await expect(page.get_by_text("/calendar/")).to_be_visible()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Everything as tables").click()
    with zipfile.ZipFile(await (await download.value).path()) as archive:
        assert "homes.csv" in archive.namelist()


async def test_what_was_typed_outlives_a_login_that_ended_meanwhile(window: Window) -> None:
    page = await a_phone(window)
    await page.get_by_role("link", name="My data").click()
    await page.get_by_label("E-mail address").fill("rosa@example.org")
    await page.get_by_label("it is about to start").uncheck()
    window.suburb.clock.step_to(window.suburb.clock.now() + timedelta(hours=12))
    await page.get_by_role("button", name="Save").press("Enter")

    await expect(page.get_by_role("status")).to_contain_text("Your login has ended")
    await page.get_by_label("Name").fill("rosa")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("nothing was sent")
    await expect(page.get_by_label("E-mail address")).to_have_value("rosa@example.org")
    await expect(page.get_by_label("it is about to start")).not_to_be_checked()
    await expect(page.get_by_label("it changes")).to_be_checked()
    assert (await contacts.show_contact(window.suburb.desk, owner_id=OWNER))["address"] == ""
    await page.get_by_role("button", name="Save").press("Enter")
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.goto(f"{window.address}/owner/data?again=yes")
    assert await page.evaluate("sessionStorage.length") == 0


async def test_a_statement_is_printed_dark_on_light_and_without_forms(window: Window) -> None:
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    await events.cancel_event(window.suburb.desk, event_id="hot-1", actor="staff:ana")
    await money.settle_event(window.suburb.desk, event_id="hot-1")
    page = await window.open(width=794, dark=True)
    await window.log_in(page, "rosa")
    await page.goto(f"{window.address}/owner/events/hot-1")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()

    await page.emulate_media(media="print", color_scheme="dark")

    colours = await page.evaluate(
        "() => { const { color, backgroundColor } = getComputedStyle(document.documentElement);"
        " return [color, backgroundColor].map((each) => Number(each.match(/\\d+/)[0])); }"
    )
    assert colours[0] < 64
    assert colours[1] > 192
    await expect(page.get_by_role("button", name="Send")).to_be_hidden()


async def test_on_a_phone_a_table_without_rows_says_so_from_the_left(window: Window) -> None:
    page = await a_phone(window)
    await page.goto(f"{window.address}/owner/data")

    empty = page.get_by_role("cell", name="Nobody of the staff has looked")

    await expect(empty).to_have_css("text-align", "left")


async def test_on_a_phone_a_cell_without_words_takes_no_line(window: Window) -> None:
    page = await a_phone(window)
    await page.goto(f"{window.address}/owner/data")

    await page.get_by_role("button", name="Make a calendar address").click()

    await expect(page.locator("td[data-label=What]", has_text="made a calendar address")).to_be_visible()
    await expect(page.locator("td[data-label=Why]").first).to_be_hidden()


async def test_no_page_of_the_owner_has_a_serious_fault_or_scrolls_sideways(window: Window) -> None:
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    await contacts.speak(window.suburb.desk, owner_id=OWNER, language="es")  # the longer words
    page = await window.open(width=320, height=700, dark=True)
    await window.log_in(page, "rosa")
    await page.goto(f"{window.address}/owner/data")
    await page.get_by_role("button", name="Crear una dirección de calendario").click()
    found = await faults_of(page)
    assert await width_of(page) <= 320
    await events.cancel_event(window.suburb.desk, event_id="hot-1", actor="staff:ana")
    for path in ("/owner", "/owner/events/hot-1", f"/owner/sites/{SITE}/leaving"):
        await page.goto(f"{window.address}{path}")
        assert await width_of(page) <= 320, path
        found += await faults_of(page)

    assert found == []


async def test_an_owner_of_two_homes_names_one_and_knows_it_again(window: Window) -> None:
    content = an_enrollment_file("a-1", "a-2", owner_id="o-ann")
    await sites.enroll_sites(window.suburb.desk, content=content, file_name="more.csv")
    await window.suburb.add("ann", Role.OWNER, "o-ann")
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    page = await window.open(width=390, height=844)
    await window.log_in(page, "ann")
    await page.goto(f"{window.address}/owner/data")
    await page.get_by_label("a-2", exact=True).fill("Cabin at the lake")
    await page.get_by_role("button", name="Save, a-2").press("Enter")
    await expect(page.get_by_text("Saved.")).to_be_visible()
    faults = await faults_of(page)
    wide = await width_of(page)
    await page.goto(f"{window.address}/owner")

    await expect(page.get_by_role("heading", name="Now Cabin at the lake")).to_be_visible()
    await expect(page.get_by_text("For Cabin at the lake").first).to_be_visible()
    assert faults == []
    assert wide <= 390
    assert await width_of(page) <= 390
