"""Every table of the operator as a file, as far back as the table goes."""

import csv
import io
import re
from dataclasses import replace

import httpx
import pytest

from tests.entrypoints.builders import a_program, an_enrollment_file
from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in, send
from vpp.domain.access import Role, TrailEntry
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.operations import events, money, sites, starting


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
    await suburb.desk.store.clear_alarm("a-1", at=suburb.clock.now())
    (over,) = rows(await ana.get("/operator/alarms.csv"))

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
    assert (alarm["cleared_at_local"], over["cleared_at_local"]) == ("", "Wed Sep 9, 6:00 PM PDT")


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


def files_of(page: httpx.Response) -> list[str]:
    """Return where the CSV links of a page lead."""
    return [found.replace("&amp;", "&") for found in re.findall(r'href="([^"]+\.csv[^"]*)"', page.text)]


async def test_a_preview_comes_as_files_for_what_was_asked_by_place_and_by_reason(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    content = an_enrollment_file("k-1", "k-2", "k-3", county="=Kern", feeder="f 9")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.pass_time(30)
    wish = {"program_id": PROGRAM, "power_mw": "0.005", "minutes": "90", "targets": "=Kern"}

    page = await send(ana, "/operator/new-event", event_id="console-1", **wish)
    by_utility, by_county, by_feeder, by_reason = [rows(await ana.get(path)) for path in files_of(page)]
    nobody, shorter = [
        await ana.get("/operator/preview.csv", params=wish | changed)
        for changed in ({"by": "street"}, {"by": "feeder", "minutes": "soon"})
    ]

    assert [each["name"] for each in (*by_utility, *by_county, *by_feeder)] == ["PGE", "'=Kern", "f 9"]
    (firm,) = by_county
    assert firm["sites"] == "3"
    assert 0 < int(firm["p90_w"]) < int(firm["p50_w"]) <= int(firm["p10_w"])
    assert {each["reason"]: each["sites"] for each in by_reason}["selected"] == "3"
    assert (nobody.status_code, shorter.status_code) == (422, 422)
    assert await suburb.desk.store.histories() == []


async def test_programs_come_as_a_file_with_their_terms_and_with_empty_cells_without(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    ended = replace(a_program("ended"), name="@ended", editions=())
    suburb.desk.programs["ended"] = ended  # type: ignore[index]  # a dict in this world
    page = await ana.get("/operator/events")

    assert "/operator/programs.csv" in files_of(page)
    running, without = rows(await ana.get("/operator/programs.csv"))

    assert (running["program_id"], running["season_cap_s"], running["window_opens"]) == (
        PROGRAM, "216000", "16:00",
    )  # fmt: skip
    assert running["pays"] == "2.00 USD per kWh beyond the baseline"
    assert (without["name"], without["season_cap_s"], without["pays"]) == ("'@ended", "", "")


async def test_messages_come_as_a_file_with_why_they_were_refused(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    failures = suburb.controller.runner.failures
    failures.received["telemetry"], failures.stored["telemetry"] = 9, 5
    failures.refused["telemetry", "bad_signature"], failures.refused["telemetry", "not_enrolled"] = 3, 1

    (path,) = files_of(await ana.get("/operator/health"))
    (row,) = rows(await ana.get(path))

    assert row == {
        "kind": "telemetry", "received": "9", "stored": "5", "duplicate": "0", "lost": "0", "refused": "4",
        "refused_why": "bad_signature:3 not_enrolled:1",
    }  # fmt: skip
