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
        "2026-09-10T01:00:00Z", "2026-09-09 18:00:00 PDT",
    )  # fmt: skip
    assert (first["out_of_program"], first["name"]) == ("too_short", "'=EEA")  # no spreadsheet runs it
    assert (county["name"], county["sites"], county["spare_w"]) == ("Alameda", "12", "60000")
    assert (alarm["kind"], alarm["raised_at_local"]) == ("shortfall", "2026-09-09 18:00:00 PDT")
    assert (alarm["cleared_at_local"], over["cleared_at_local"]) == ("", "2026-09-09 18:00:00 PDT")


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
    assert course[0]["at_local"] == "2026-09-09 18:00:15 PDT"
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
    assert (running["season_starts_on"], running["season_over"]) == ("2026-05-01", "False")
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


async def started(suburb: Suburb, event_id: str = "ev-1") -> None:
    await starting.start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.02", actor="staff:ana"
    )
    await suburb.pass_time(60)


async def test_what_stands_in_an_event_s_tables_comes_as_files(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await started(suburb)
    event, other = [await ana.get(f"/operator/events/ev-1{rest}") for rest in ("", "/replay?floor=40")]

    reasons = rows(await ana.get("/operator/events/ev-1/reasons.csv"))
    plans = rows(await ana.get("/operator/events/ev-1/otherwise.csv?floor=40"))
    homes = rows(await ana.get("/operator/fleet.csv"))

    assert "/operator/events/ev-1/reasons.csv" in files_of(event)
    assert "/operator/events/ev-1/otherwise.csv?floor=40" in files_of(other)
    assert sum(int(each["sites"]) for each in reasons) == 12
    assert (plans[0]["at_local"], plans[0]["asked_w"]) == ("2026-09-09 18:00:15 PDT", "20000")
    assert homes[0]["sampled_at_local"] == "2026-09-09 18:01:00 PDT"


async def test_why_of_one_home_comes_as_a_file_and_its_owner_reads_who_took_it(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await started(suburb)
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    page = await ana.get("/operator/sites/s-001?reason=she called")
    (path,) = files_of(page)

    (row,) = rows(await ana.get(path))
    without = await ana.get("/operator/sites/s-001/why.csv")
    rosa = await logged_in(suburb, "rosa")
    reads = rows(await rosa.get("/owner/reads.csv"))

    assert (row["event_id"], row["starts_at_local"]) == ("ev-1", "2026-09-09 18:00:00 PDT")
    assert without.status_code == 422
    assert [(each["actor"], each["reason"]) for each in reads if each["actor"] == "staff:ana"] == [
        ("staff:ana", "she called")
    ] * 2
    assert reads[0]["at_local"].endswith("PDT")
    assert "/owner/reads.csv" in (await rosa.get("/owner/data")).text
    assert rows(await rosa.get("/owner/payouts.csv")) == []


async def test_counties_programs_and_what_failed_are_turned_over_page_by_page(suburb: Suburb) -> None:
    content = an_enrollment_file("k-1", county="Kern")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.controller.turn()
    suburb.desk.programs["other"] = a_program("other")  # type: ignore[index]  # a dict in this world
    suburb.controller.runner.failures.pending.update({("settle", "ev-1"): "no", ("settle", "ev-2"): "no"})
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        for path, key in (("counties", "counties"), ("programs", "programs"), ("traffic", "pending")):
            first = (await client.get(f"/api/v1/{path}?limit=1")).json()
            last = (await client.get(f"/api/v1/{path}?limit=1&cursor={first['next_cursor']}")).json()
            both = (await client.get(f"/api/v1/{path}")).json()

            assert [*first[key], *last[key]] == list(both[key])
            assert (len(both[key]), last["next_cursor"], both["next_cursor"]) == (2, None, None)
            assert (await client.get(f"/api/v1/{path}?limit=0")).status_code == 422
            assert (await client.get(f"/api/v1/{path}?cursor=odd")).status_code == 422
