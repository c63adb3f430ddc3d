"""The pages about many homes: a table that finds one of them, the county map, health."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.domain.access import Role
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.http import pages_alarms
from vpp.entrypoints.http.county_map import tiles
from vpp.entrypoints.operations import board, counties, events, own_data, sites, starting

MANY = 2_000


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


async def test_the_fleet_table_finds_one_of_many_homes(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path, homes=1)
    content = an_enrollment_file(*(f"home-{number}" for number in range(MANY)))
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.controller.turn()
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")

    for number in (1_777, 1, MANY - 1):
        page = await ana.get("/operator/fleet", params={"search": f"home-{number}"})
        assert f">home-{number}</a>" in page.text


async def test_a_home_that_left_is_neither_enrolled_nor_online(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    gone = await suburb.desk.enrollment("s-001")
    await own_data.leave_program(
        suburb.desk, owner_id=gone.owner_id, site_id=gone.site_id, actor="owner:rosa"
    )
    suburb.report(silent=[5])
    suburb.controller.fleet.online[5] = False

    board, fleet = await ana.get("/operator/boards"), await ana.get("/operator/fleet")

    assert "<strong>10</strong> of 11 homes online" in board.text
    assert "12 of 12 homes, 10 of 11 online" in fleet.text


async def test_the_map_leads_from_a_county_to_its_homes(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    page = await ana.get("/operator/map")
    homes = await ana.get("/operator/fleet", params={"county": "Alameda"})
    elsewhere = await ana.get("/operator/fleet", params={"county": "Kern"})
    file = await ana.get("/operator/fleet.csv", params={"county": "Kern"})

    assert re.search(r'href="/operator/fleet\?county=Alameda" class="tile shade4"', page.text)
    assert "Kern: no homes" in page.text
    assert "12 of 12 homes" in homes.text
    assert "0 of 12 homes" in elsewhere.text
    assert file.text.count("\r\n") == 1


async def test_a_county_is_on_the_map_however_its_name_is_written(suburb: Suburb) -> None:
    content = an_enrollment_file("cc-1", county="contra-costa")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.controller.turn()
    await suburb.add("vera", Role.VIEWER)

    page = await (await logged_in(suburb, "vera")).get("/operator/map")

    assert 'href="/operator/fleet?county=contra-costa" class="tile' in page.text
    assert "Contra Costa: no homes" not in page.text


def test_the_map_has_every_county_once_and_no_two_in_one_place() -> None:
    drawn = tiles()

    assert len({name for _, name, _, _ in drawn}) == 58
    assert len({(column, row) for _, _, column, row in drawn}) == 58


async def test_health_says_who_reported_when_and_what_became_of_messages(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    suburb.controller.runner.failures.received["telemetry"] = 7
    suburb.controller.runner.failures.refused["telemetry", "bad_signature"] = 2
    suburb.controller.runner.failures.pending["settle", "ev-1"] = "the database went away"

    page = await ana.get("/operator/health")

    assert re.search(r"Online</dt><dd>12 of 12", page.text)
    assert re.search(r"telemetry</td><td class=\"number\" data-label=\"Received\">7</td>", page.text)
    assert "2 bad signature" in page.text
    assert "Twice" not in page.text  # a status that says what a sample said before came once
    assert "settle ev-1: the database went away" in page.text


async def test_the_homes_of_a_test_stand_under_its_banner(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await starting.start_event(
        suburb.desk, event_id="try-1", program_id=PROGRAM, power_mw="0.01", test=True, actor="staff:ana"
    )
    await suburb.controller.turn()

    of_test = await ana.get("/operator/fleet", params={"event": "try-1"})
    of_now = await ana.get("/operator/fleet")
    event = await ana.get("/operator/events/try-1")

    assert '<p class="test">TEST: never paid, never counted</p>' in of_test.text
    assert "TEST: never paid" not in of_now.text
    assert re.search(r"\d+ commands in 1 tick to \d+ homes", event.text)


async def test_every_home_says_its_reason_in_one_event_while_it_runs_and_afterwards(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.01", actor="staff:ana"
    )
    await suburb.pass_time(15)
    await sites.opt_out_site(suburb.desk, site_id="s-001", event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)

    event = await ana.get("/operator/events/hot-1")
    out = await ana.get("/operator/fleet", params={"event": "hot-1", "reason": "opted_out"})
    file = await ana.get("/operator/fleet.csv", params={"event": "hot-1", "reason": "opted_out"})
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)
    assert suburb.controller.board is not None
    suburb.controller.board.plans.clear()  # as after a restart
    afterwards = await ana.get("/operator/fleet", params={"event": "hot-1", "search": "s-001"})
    now = await ana.get("/operator/fleet", params={"search": "s-001"})
    unknown = await ana.get("/operator/fleet", params={"event": "hot-9"})

    await starting.start_event(
        suburb.desk, event_id="later", program_id=PROGRAM, power_mw="0.01", starts_at="2026-09-10T18:00",
        actor="staff:ana",
    )  # fmt: skip
    unplanned = await ana.get("/operator/fleet", params={"event": "later"})

    assert (unplanned.status_code, suburb.live.reasons.keys()) == (409, {"hot-1"})
    assert 'href="/operator/fleet?event=hot-1&amp;reason=opted_out"' in event.text
    assert "1 of 12 homes" in out.text
    assert "the owner opted out of this event" in out.text
    assert file.text.splitlines()[1].startswith("s-001,")
    assert "the owner opted out of this event" in afterwards.text
    assert "<span>ready</span>" in now.text
    assert unknown.status_code == 404


async def test_a_home_that_fell_silent_says_so_in_the_table_by_word_and_icon(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
    )
    await suburb.pass_time(300)
    for _ in range(8):
        suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=15))
        suburb.report(silent=[0])
        await suburb.controller.turn()

    page = await ana.get("/operator/fleet", params={"search": "s-000"})

    assert re.search(
        r'class="late"><span><span class="icon" aria-hidden="true">▲</span> silent, \d+ min old</span>',
        page.text,
    )


async def test_a_home_that_fell_silent_in_an_event_counts_as_silent_wherever_homes_are_counted(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
    )
    await suburb.pass_time(300)
    for _ in range(8):
        suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=15))
        suburb.report(silent=[0, 4])
        await suburb.controller.turn()

    found: Any = await board.list_fleet(suburb.desk, reason="stale")
    counties_now: Any = await counties.list_counties(suburb.desk)
    listed = await ana.get("/operator/fleet", params={"proof": "silent", "event": "hot-1"})
    (path,) = re.findall(r'href="([^"]+fleet.csv[^"]*)"', listed.text)
    file = await ana.get(unescape(path))
    boards, metrics = await ana.get("/operator/boards"), await ana.get("/metrics")
    odd = await ana.get("/operator/fleet", params={"proof": "asleep"})

    assert (found["by_reason"], found["asked"], found["silent"]) == ({"stale": 2, "selected": 10}, 12, 2)
    assert [(each["site_id"], each["proof"]) for each in found["sites"]] == [
        ("s-000", "silent"), ("s-004", "silent"),
    ]  # fmt: skip
    assert all(each["setpoint_w"] for each in found["sites"])  # still a part of the event
    assert counties_now["counties"][0]["ready"] == 10
    assert "2 of 12 homes" in listed.text
    assert [line.split(",")[0] for line in file.text.splitlines()] == ["site_id", "s-000", "s-004"]
    assert "2026-09-10T01:05:00Z,2026-09-09 18:05:00 PDT" in file.text.replace('"', "")
    assert re.search(r'event=hot-1&amp;proof=silent">.*?<strong>2</strong> silent', boards.text, re.DOTALL)
    assert "<strong>2</strong> asked and silent" in boards.text
    assert 'vpp_sites_by_reason{reason="stale"} 2.0' in metrics.text
    assert odd.status_code == 422


async def test_a_home_whose_will_came_counts_as_offline_while_its_lease_runs(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
    )
    await suburb.pass_time(300)
    suburb.controller.fleet.online[3] = False

    found: Any = await board.list_fleet(suburb.desk, reason="offline")

    assert [each["site_id"] for each in found["sites"]] == ["s-003"]
    assert suburb.live.busy(suburb.clock.now())[3]


async def test_alarms_that_are_over_are_turned_over_page_by_page(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_alarms, "PAGE_ALARMS", 1)
    await suburb.add("vic", Role.VIEWER)
    vic = await logged_in(suburb, "vic")
    for name in ("a-old", "a-new"):
        await suburb.pass_time(15)
        await suburb.desk.store.raise_alarm(Alarm(name, NoticeKind.SHORTFALL, name, suburb.clock.now()))
        await suburb.desk.store.clear_alarm(name, at=suburb.clock.now())

    newest = await vic.get("/operator/alarms")
    older = re.search(r'rel="next" href="([^"]+)"', newest.text)
    assert older is not None
    last = await vic.get(f"/operator/alarms{older[1]}")

    assert ("a-new" in newest.text, "a-old" in newest.text) == (True, False)
    assert ("a-new" in last.text, "a-old" in last.text) == (False, True)
    assert 'rel="next"' not in last.text
    assert 'href="/operator/alarms">The newest' in last.text


async def test_an_alarm_about_an_event_names_it_as_people_call_it(suburb: Suburb) -> None:
    await suburb.add("vic", Role.VIEWER)
    vic = await logged_in(suburb, "vic")
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.9", minutes=60, name="EEA 2",
        actor="staff:ana",
    )  # fmt: skip
    for _ in range(20):
        await suburb.pass_time(15)
        await suburb.controller.notify()

    page, board_page = await vic.get("/operator/alarms"), await vic.get("/operator")

    assert '<td data-label="Where">EEA 2 (hot-1)</td>' in page.text
    assert "name EEA 2" not in page.text
    assert "Shortfall, EEA 2 (hot-1), since" in board_page.text


async def test_an_alarm_says_power_as_every_page_does_and_no_word_that_only_programs_read(
    suburb: Suburb,
) -> None:
    await suburb.add("vic", Role.VIEWER)
    vic = await logged_in(suburb, "vic")
    for name, facts in (
        ("a-1", {"missing_kw": "98822.1", "asked_kw": "100000.0"}),
        ("a-2", {"needs": "approval", "waiting_kw": "", "part": "yes"}),
    ):
        await suburb.desk.store.raise_alarm(
            Alarm(name, NoticeKind.SHORTFALL, name, suburb.clock.now(), facts)
        )

    page = (await vic.get("/operator/alarms")).text

    assert "<span>missing 98.8 MW, asked 100.0 MW</span>" in page
    assert "<span>needs approval</span>" in page
