"""The pages in a real browser: login to result, by keyboard, on a phone; nothing leaves the machine."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from axe_core_python.async_playwright import Axe  # type: ignore[import-untyped]  # it carries no types
from playwright.async_api import Browser, Page, expect

from tests.entrypoints.pages.browser import Window, a_window
from tests.entrypoints.pages.screenshots import (
    PAGES,
    README_PICTURE,
    an_evening_before,
    write_readme_picture,
)
from tests.entrypoints.pages.world import PASSWORD, PROGRAM, Suburb, a_suburb
from vpp.domain.access import Role
from vpp.entrypoints.operations import contacts, starting

pytestmark = pytest.mark.asyncio(loop_scope="session")  # one browser serves all of them


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, tmp_path: Path) -> AsyncIterator[Window]:
    suburb = await a_suburb(tmp_path)
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    async with a_window(suburb, browser) as opened:
        yield opened
    assert opened.elsewhere == []
    assert opened.complaints == []


async def begin(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )


async def announce_test(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="test-1", program_id=PROGRAM, power_mw="0.02", starts_at="2026-09-10T17:00",
        test=True, actor="staff:ana",
    )  # fmt: skip


async def width_of(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth"))


async def test_an_operator_goes_from_login_to_a_running_event_whose_board_follows(window: Window) -> None:
    page = await window.open()
    await page.goto(f"{window.address}/operator/new-event")
    await page.get_by_label("Name").fill("ana")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await page.get_by_label("Power in MW").fill("0.02")
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_label("Type 0.02 to start").fill("0.02")
    await page.get_by_role("button", name="Start event").click()
    await expect(page.get_by_text("Active; no home is asked for power yet.")).to_be_visible()

    await window.suburb.pass_time(300)

    await expect(page.get_by_text("On target.")).to_be_visible()
    await expect(page.locator(".line.forecast")).to_have_count(1)


async def test_everything_stops_by_keyboard_alone(window: Window) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.suburb.pass_time(120)
    await window.log_in(page, "ana")
    await page.get_by_label("Type STOP to release every home").focus()
    await page.keyboard.type("STOP")
    await page.keyboard.press("Enter")

    await expect(page.get_by_text("1 event cancelled")).to_be_visible()
    await window.suburb.pass_time(15)
    assert not window.suburb.live.busy(window.suburb.clock.now()).any()


async def test_keys_lead_to_pages_and_to_the_search(window: Window) -> None:
    page = await window.open()
    await window.log_in(page, "ana")
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await page.wait_for_url("**/operator/fleet")
    await page.keyboard.press("/")
    await page.keyboard.type("s-003")
    await page.keyboard.press("Enter")

    await expect(page.get_by_text("1 of 12 homes")).to_be_visible()
    await page.locator("h1").click()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("g f Fleet")
    await expect(page.get_by_role("dialog")).to_contain_text("/ Home, county or feeder")
    # This page has its own search.
    await expect(page.get_by_role("dialog")).not_to_contain_text("Find a home")


async def test_new_event_and_the_search_of_homes_have_their_keys_on_every_page(window: Window) -> None:
    page = await window.open()
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/health")

    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("n New event · / Find a home")
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    await expect(page.get_by_label("Home, county or feeder")).to_be_focused()
    await page.locator("h1").click()
    await page.keyboard.press("n")

    await page.wait_for_url("**/operator/new-event")


async def test_a_board_that_gets_no_answer_says_so(window: Window) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.log_in(page, "ana")
    await expect(page.locator("[data-board]")).to_have_count(1)

    await page.evaluate("() => { window.fetch = () => Promise.reject(new Error('cut')); }")

    await expect(page.get_by_text("Not live: no answer")).to_be_visible()


async def test_an_owner_on_a_phone_keeps_more_and_opts_out(window: Window) -> None:
    page = await window.open(width=390, height=844)
    await begin(window.suburb)
    await window.suburb.pass_time(60)
    await window.log_in(page, "rosa")
    slider = page.get_by_label("Reserve in percent")
    await slider.focus()
    for _ in range(4):
        await page.keyboard.press("ArrowRight")
    await expect(
        page.get_by_text("40 % leaves about 6 h of backup, about $5 per event less than now.")
    ).to_be_visible()
    await page.get_by_role("button", name="Save reserve").click()
    await expect(page.get_by_text("Your reserve is saved")).to_be_visible()
    await page.get_by_role("button", name="Opt out of this event").click()
    await expect(page.get_by_text("You opted out.")).to_be_visible()

    assert (await window.suburb.desk.enrollment("s-001")).reserve_permille == 400


async def test_no_page_scrolls_sideways_on_a_phone_or_at_four_times_the_size(window: Window) -> None:
    await begin(window.suburb)
    await announce_test(window.suburb)
    await window.suburb.pass_time(60)
    for name, paths in PAGES.items():
        page = await window.open(width=390, height=700)
        await window.log_in(page, name)
        for path in paths:
            for width in (390, 320):
                await page.set_viewport_size({"width": width, "height": 700})
                await page.goto(f"{window.address}{path}")
                assert await width_of(page) <= width, path


@pytest.mark.parametrize("language", ["en", "es"])
async def test_a_statement_with_every_column_stays_inside_its_card(window: Window, language: str) -> None:
    await an_evening_before(window.suburb)
    await contacts.speak(window.suburb.desk, owner_id="o-s-001", language=language)
    page = await window.open(width=1280, height=900)
    await window.log_in(page, "rosa")
    await page.goto(f"{window.address}/owner/events/hot-0")

    assert await page.locator("section.card thead th").count() == 8
    beyond = await page.evaluate(
        "[...document.querySelectorAll('.card')].map(card => card.scrollWidth - card.clientWidth)"
    )
    assert max(beyond) <= 0


async def test_axe_finds_nothing_serious_in_light_or_dark(window: Window) -> None:
    await begin(window.suburb)
    await announce_test(window.suburb)
    await window.suburb.pass_time(120)
    found = []
    for name, paths in PAGES.items():
        page = await window.open()
        await window.log_in(page, name)
        for path in paths:
            await page.emulate_media(color_scheme="light")
            await page.goto(f"{window.address}{path}")
            found += await faults_of(page)
            if path in ("/operator", "/owner"):
                await page.emulate_media(color_scheme="dark")
                found += await faults_of(page)

    assert found == []


async def faults_of(page: Page) -> list[tuple[str, str, list[str]]]:
    """Return what axe calls serious or critical: where, which rule, which elements."""
    report = await Axe().run(page)
    return [
        (page.url, each["id"], [node["html"][:120] for node in each["nodes"]])
        for each in report["violations"]
        if each["impact"] in ("serious", "critical")
    ]


async def test_the_readme_shows_a_picture_of_the_board_as_it_looks(browser: Browser, tmp_path: Path) -> None:
    await write_readme_picture(tmp_path / "board.png", browser)

    made, shown = (tmp_path / "board.png").read_bytes(), README_PICTURE.read_bytes()
    assert made.startswith(b"\x89PNG")
    assert made[16:24] == shown[16:24]  # width and height
    assert len(shown) < 200_000
    assert ".github/board.png" in (README_PICTURE.parents[1] / "README.md").read_text()


async def test_a_double_click_starts_one_event(window: Window) -> None:
    page = await window.open()
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/new-event")
    await page.get_by_label("Power in MW").fill("0.02")
    await page.get_by_role("button", name="Preview").click()
    await page.get_by_label("Type 0.02 to start").fill("0.02")

    await page.get_by_role("button", name="Start event").dblclick()
    await page.wait_for_url("**/operator/events/console-*")

    (history,) = await window.suburb.desk.store.histories()
    assert len(history.versions) == 1


async def test_an_expired_session_returns_to_where_it_was(window: Window) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/events/hot-1/change")
    window.suburb.clock.step_to(window.suburb.clock.now() + timedelta(hours=13))
    await page.get_by_label("Type hot-1 to change it").fill("hot-1")
    await page.get_by_role("button", name="Change event").click()

    await page.get_by_label("Name").fill("ana")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(f"{window.address}/operator/events/hot-1/change?again=yes")
    await expect(page.get_by_label("Type hot-1 to change it")).to_have_value("hot-1")
    assert len((await window.suburb.desk.history("hot-1")).versions) == 1


async def test_a_replay_shows_each_moment_by_slider_in_local_time(window: Window) -> None:
    page = await window.open()
    await begin(window.suburb)
    await window.suburb.pass_time(600)
    await window.log_in(page, "ana")
    await page.goto(f"{window.address}/operator/events/hot-1/replay")
    await expect(page.locator("[data-show=measured_w]")).to_have_text("20.0 kW")

    await page.get_by_label("Moment").press("Home")
    await expect(page.locator("[data-show=measured_w]")).to_have_text("0.0 kW")

    await expect(page.locator("[data-show=at]")).to_contain_text("PDT")
