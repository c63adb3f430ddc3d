"""A test is marked wherever homes or events are shown that belong to it."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in, send
from tests.entrypoints.test_database_down import DatabaseThatGoesDown
from tests.entrypoints.test_home_assistant import CONFIG, Home
from vpp.domain.access import Role
from vpp.entrypoints import cli_fleet, cli_owner, rendering
from vpp.entrypoints.operations.board import list_fleet
from vpp.entrypoints.operations.owner import show_own_events, show_own_home
from vpp.entrypoints.operations.preview import preview_event
from vpp.entrypoints.operations.rehearsal import rehearse_event
from vpp.entrypoints.operations.sites import why_site
from vpp.entrypoints.operations.starting import start_event, stop_all
from vpp.entrypoints.rendering_capacity import show_preview, show_rehearsal


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Return homes of which some serve a test and some do not."""
    suburb = await a_suburb(tmp_path)
    for event_id, test in (("ev-1", False), ("drill", True)):
        await start(suburb, event_id, test=test)
    return suburb


async def start(suburb: Suburb, event_id: str, *, test: bool, power_mw: str = "0.02") -> None:
    await start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=power_mw, minutes=60, test=test,
        name=f"Console {event_id}", actor="staff:ana",
    )  # fmt: skip
    await suburb.pass_time(30)


def serving(suburb: Suburb, event_id: str) -> set[str]:
    return {f"s-{row:03d}" for row in suburb.live.serving(event_id, suburb.clock.now()).nonzero()[0]}


async def test_fleet_says_of_each_home_which_event_it_serves_and_that_it_is_a_test(suburb: Suburb) -> None:
    found: Any = await list_fleet(suburb.desk)
    of_test: Any = await list_fleet(suburb.desk, event="drill")

    in_test = {each["site_id"] for each in found["sites"] if each["test"]}
    assert in_test == serving(suburb, "drill") != set()
    assert {each["site_id"] for each in found["sites"] if each["event_id"] == "ev-1"} == serving(
        suburb, "ev-1"
    )
    assert (found["test"], of_test["test"]) == (False, True)


async def test_list_of_homes_marks_those_in_a_test(suburb: Suburb) -> None:
    console = Console(file=StringIO(), width=200)

    cli_fleet._show_fleet(console, await list_fleet(suburb.desk))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO

    marked = {line.split()[0] for line in lines if "kW TEST" in line}
    assert marked == serving(suburb, "drill")


async def test_page_and_file_of_homes_mark_those_in_a_test(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")

    page = await ana.get("/operator/fleet")
    rows = csv.DictReader(StringIO((await ana.get("/operator/fleet.csv")).text))

    in_test = serving(suburb, "drill")
    assert page.text.count('<strong class="testmark">TEST</strong>') == len(in_test)
    assert {row["site_id"] for row in rows if (row["event_id"], row["test"]) == ("drill", "True")} == in_test


async def test_page_and_file_of_one_home_and_its_owners_file_mark_the_tests(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    ana, rosa = await logged_in(suburb, "ana"), await logged_in(suburb, "rosa")
    of_one = "/operator/sites/s-001{}?reason=she called"

    page = await ana.get(of_one.format(""))
    in_test, in_event = [
        await ana.get(f"/operator/sites/{min(serving(suburb, event))}?reason=she called")
        for event in ("drill", "ev-1")
    ]
    told = csv.DictReader(StringIO((await ana.get(of_one.format("/why.csv"))).text))
    await stop_all(suburb.desk, actor="staff:ana")
    own = csv.DictReader(StringIO((await rosa.get("/owner/events.csv")).text))

    assert page.text.count('<strong class="testmark">TEST</strong> <a href="/operator/events/drill/') == 1
    assert '<strong class="testmark">TEST</strong> the home takes part' not in in_event.text
    assert '<strong class="testmark">TEST</strong> the home takes part' in in_test.text
    for rows in (told, own):
        assert {row["event_id"]: row["test"] for row in rows} == {"drill": "True", "ev-1": "False"}


async def test_commands_about_a_home_and_its_owner_mark_the_tests(suburb: Suburb) -> None:
    printed: dict[str, str] = {}
    for event_id in ("drill", "ev-1"):
        why: Any = await why_site(suburb.desk, site_id="s-001", event_id=event_id)
        console = Console(record=True, file=StringIO(), width=200)
        rendering.show_why(console, why)
        printed[event_id] = console.export_text()
    await stop_all(suburb.desk, actor="staff:ana")
    console = Console(record=True, file=StringIO(), width=200)
    cli_owner._show_history(console, await show_own_events(suburb.desk, owner_id="o-s-001"))
    history = console.export_text()

    assert printed["drill"].startswith("TEST: never paid, never counted")
    assert "TEST" not in printed["ev-1"]
    assert ("drill TEST" in history, "ev-1 TEST" in history, "ev-1" in history) == (True, False, True)


@pytest.mark.parametrize("test", [True, False])
async def test_commands_that_only_look_at_an_event_mark_a_test(suburb: Suburb, test: bool) -> None:
    previewed: Any = await preview_event(suburb.desk, program_id=PROGRAM, power_mw="0.01", test=test)
    rehearsed: Any = await rehearse_event(suburb.desk, event_id="drill" if test else "ev-1")
    coming: Any = await show_own_home(suburb.desk, owner_id="o-s-001")

    for show, found in ((show_preview, previewed), (show_rehearsal, rehearsed)):
        console = Console(record=True, file=StringIO(), width=200)
        show(console, found)
        assert console.export_text().startswith("TEST: never paid, never counted") == test
    console = Console(record=True, file=StringIO(), width=200)
    cli_owner._show_home(console, coming)
    printed = console.export_text()
    assert "Console drill (TEST), Wed" in printed
    assert "Console ev-1, Wed" in printed


async def test_stop_all_says_which_of_the_events_are_tests(suburb: Suburb) -> None:
    answer = await stop_all(suburb.desk, actor="staff:ana")

    assert (answer["cancelled"], answer["tests"]) == (["drill", "ev-1"], ["drill"])


async def test_stop_all_says_which_events_are_tests_without_the_database_too(tmp_path: Path) -> None:
    database: Any = DatabaseThatGoesDown()
    suburb = await a_suburb(tmp_path, store=database)
    await start(suburb, "drill", test=True)
    database.down = True

    answer = await stop_all(suburb.desk, actor="staff:ana")

    assert (answer["unrecorded"], answer["tests"]) == (["drill"], ["drill"])


async def test_page_after_stop_all_marks_tests(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)

    stopped = await send(await logged_in(suburb, "ana"), "/operator/stop-all", typed="stop")

    assert 'drill">drill</a> (TEST)' in stopped.text
    assert 'ev-1">ev-1</a> (TEST)' not in stopped.text


async def test_preview_says_that_what_it_takes_from_is_a_test(suburb: Suburb) -> None:
    found: Any = await preview_event(suburb.desk, program_id=PROGRAM, power_mw="0.05", minutes=60)
    console = Console(file=StringIO(), width=200)
    show_preview(console, found)

    assert {each["event_id"]: each["test"] for each in found["takes_from"]} == {"drill": True, "ev-1": False}
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "from Console drill (TEST), which is on" in printed
    assert "from Console ev-1, which is on" in printed


@pytest.mark.parametrize("test", [True, False])
async def test_home_assistant_is_told_that_the_event_is_a_test(tmp_path: Path, test: bool) -> None:
    home = Home(await a_suburb(tmp_path, homes=3))
    await start(home.suburb, "hot-1", test=test, power_mw="0.012")

    state, config = await home.state(), str((await home.shown())[CONFIG])

    assert (state["event_active"], state["event_test"]) == ("ON", test)
    assert config.count("json_attributes_template") == 2  # of the event that is on and the next one
