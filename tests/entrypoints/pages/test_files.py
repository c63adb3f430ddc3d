"""Every table of the operator as a file, as far back as the table goes."""

import csv
import io
import re

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in
from vpp.domain.access import Role, TrailEntry
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.operations import events, money, starting


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.count(b"\r\n") == answer.content.count(b"\n")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_events_counties_and_alarms_come_as_files_with_utc_and_local_time(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    for event_id, test in (("ev-1", False), ("ev-2", True)):
        await starting.start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.02", minutes=30, test=test,
            name="=EEA", actor="staff:ana",
        )  # fmt: skip
    await suburb.desk.store.raise_alarm(Alarm("a-1", NoticeKind.SHORTFALL, "ev-1", suburb.clock.now()))

    listed = rows(await ana.get("/operator/events.csv"))
    (county,) = rows(await ana.get("/operator/counties.csv"))
    (alarm,) = rows(await ana.get("/operator/alarms.csv"))

    assert [(each["event_id"], each["test"], each["power_w"]) for each in listed] == [
        ("ev-2", "True", "20000"), ("ev-1", "False", "20000"),
    ]  # fmt: skip
    first = listed[1]
    assert (first["starts_at"], first["starts_at_local"]) == (
        "2026-09-10T01:00:00Z", "Wed Sep 9, 6:00 PM PDT",
    )  # fmt: skip
    assert (first["out_of_program"], first["name"]) == ("too_short", "'=EEA")  # no spreadsheet runs it
    assert (county["name"], county["sites"], county["spare_w"]) == ("Alameda", "12", "60000")
    assert (alarm["kind"], alarm["raised_at_local"]) == ("shortfall", "Wed Sep 9, 6:00 PM PDT")


async def test_a_settled_event_gives_its_hours_with_quality_and_its_course(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(60)
    unsettled = await ana.get("/operator/events/ev-1/hours.csv")
    await events.cancel_event(suburb.desk, event_id="ev-1", actor="staff:ana")
    suburb.clock.step_to(suburb.clock.now().replace(minute=30))
    await money.settle_event(suburb.desk, event_id="ev-1")

    (hour,) = rows(await ana.get("/operator/events/ev-1/hours.csv"))
    course = rows(await ana.get("/operator/events/ev-1/course.csv"))
    page = await ana.get("/operator/events/ev-1")

    assert unsettled.status_code == 409
    assert (hour["hour_starts_at"], hour["quality"]) == ("2026-09-10T01:00:00Z", "MISSING")
    assert {each["requested_w"] for each in course} == {"20000"}
    assert course[0]["at_local"] == "Wed Sep 9, 6:00 PM PDT"
    assert "/operator/events/ev-1/hours.csv" in page.text


async def test_the_trail_goes_back_to_its_first_entry_and_shows_what_is_about_one_thing(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    now = suburb.clock.now()
    await suburb.desk.store.leave_trail(
        [TrailEntry(now, "staff:ben", f"did {number}", "fleet", "", "r-1") for number in range(450)]
    )

    newest = await ana.get("/operator/trail")
    seen, page = newest.text, newest
    while older := re.search(r'<a rel="next" href="([^"]+)">Older', page.text):
        page = await ana.get("/operator/trail" + older[1].replace("&amp;", "&"))
        seen += page.text
    about = await ana.get("/operator/trail", params={"subject": "user:ana"})

    assert "did 449<" in newest.text
    assert "did 0<" not in newest.text
    assert {f"did {number}<" in seen for number in range(450)} == {True}
    assert "did 4" not in about.text
    assert "log in" in about.text
    assert len(rows(await ana.get("/operator/trail.csv"))) >= 450
    assert {each["subject"] for each in rows(await ana.get("/operator/trail.csv?subject=fleet"))} == {"fleet"}
