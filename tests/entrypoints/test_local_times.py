"""People read the time of the place and its zone; files and JSON keep UTC."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from tests.entrypoints.builders import a_program
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.domain.access import Role, TrailEntry
from vpp.domain.grid_event import GridSource
from vpp.domain.notice import Contact, NoticeKind
from vpp.domain.program import zone_of_most
from vpp.domain.quantities import Watts
from vpp.entrypoints import cli_events, cli_fleet, cli_owner, rendering
from vpp.entrypoints.operations import alarms, evening, events, sites, starting, trail
from vpp.stages.watch import Watched, alert, watch
from vpp.wire.notice_text import word_notice


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


def printed(show: Any, found: Any) -> str:
    console = Console(record=True, file=StringIO(), width=300)
    show(console, found)
    return console.export_text()


async def start(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(120)


async def test_course_and_trail_are_printed_in_the_time_of_the_program_and_answered_in_utc(
    suburb: Suburb,
) -> None:
    await start(suburb)
    now = suburb.clock.now()
    await suburb.desk.store.leave_trail([TrailEntry(now, "staff:ben", "look", "fleet", "", "r-1")])

    course = await evening.show_evening(suburb.desk, event_id="hot-1")
    entries: Any = await trail.list_trail(suburb.desk)
    shown = printed(cli_events._show_course, course) + printed(cli_fleet._show_trail, entries)

    assert "from Wed 9 Sep 2026 6:00 PM PDT on" in shown
    assert "6:02:00 PM PDT  20.0 kW" in shown
    assert "Wed 9 Sep 2026 6:02:00 PM PDT" in shown
    assert "2026-09-10T" not in shown
    assert entries["entries"][0]["at"] == "2026-09-10T01:02:00Z"


async def test_an_alarm_tells_staff_since_when_in_the_time_of_its_event(suburb: Suburb) -> None:
    await suburb.desk.store.add_source(
        GridSource("console", suburb.desk.keys.public_key, Watts(0), suburb.clock.now())
    )
    await start(suburb)
    store, clock = suburb.desk.store, suburb.clock
    await store.keep_contact(Contact("staff:lin", address="mailto://lin"))
    seen = Watched()

    found = await watch(
        board=suburb.controller.board, connected=True, silent_vtns={}, store=store, clock=clock, seen=seen,
        programs=suburb.desk.programs, homes={},
    )  # fmt: skip
    await alert(found, store=store, clock=clock, seen=seen)
    ((notice, _),) = await store.notices_to_send(now=clock.now(), limit=10)
    english, spanish = word_notice(notice, "en")[1], word_notice(notice, "es")[1]
    await suburb.add("ana", Role.OPERATOR)
    page = await (await logged_in(suburb, "ana")).get("/operator/alarms")

    assert notice.kind is NoticeKind.APPROVER_MISSING
    assert "starts at Wed Sep 9, 6:00 PM PDT" in english
    assert "mié 9 sep, 6:00 p. m. PDT" in spanish
    assert "2026-09-10T" not in english + spanish
    assert ">Wed Sep 9, 6:00 PM PDT</time>" in page.text
    assert "America/Los_Angeles" not in page.text
    listed = await alarms.list_alarms(suburb.desk)
    assert "PDT" in printed(cli_owner._show_alarms, listed)


async def test_what_a_command_did_is_printed_in_the_time_of_the_program_too(suburb: Suburb) -> None:
    await start(suburb)

    answers: list[Any] = [
        await sites.opt_out_site(suburb.desk, site_id="s-001", event_id="hot-1", actor="staff:ana"),
        await sites.opt_in_site(suburb.desk, site_id="s-001", event_id="hot-1"),
        await sites.change_reserve(suburb.desk, site_id="s-001", reserve="30", actor="staff:ana"),
        await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana"),
    ]

    for each in answers:
        assert "Wed 9 Sep 2026 6:02:00 PM PDT" in printed(rendering.show_facts, each)
        assert "2026-09-10T01:02:00Z" in each.values()
    assert "10 Sep 2026 1:02:00 AM UTC" in printed(rendering.show_facts, {"at": "2026-09-10T01:02:00Z"})


def test_staff_read_the_time_of_most_homes_and_without_homes_that_of_most_programs() -> None:
    eastern = ZoneInfo("America/New_York")
    programs = {
        "west": a_program("west"), "south": a_program("south"),
        "east": replace(a_program("east"), zone=eastern),
    }  # fmt: skip

    assert zone_of_most(programs, {"west": 3, "south": 3, "east": 5}) == "America/Los_Angeles"
    assert zone_of_most(programs, {"west": 3, "east": 5, "gone": 90}) == "America/New_York"
    assert zone_of_most(programs, {}) == "America/Los_Angeles"
    assert zone_of_most({}, {"west": 3}) == "UTC"
