"""The owner's pages: what comes, what the battery does, every event with its money, reserve, opt-out."""

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.enrollment import OptOut
from vpp.domain.ledger import owed_by, reversed_postings
from vpp.domain.program import MeterOfRecord, Period, Tariff, TariffRule
from vpp.domain.quantities import Price
from vpp.entrypoints.operations import (
    books,
    disputes,
    events,
    metering,
    money,
    own_data,
    payouts,
    sites,
    starting,
    write_offs,
)
from vpp.entrypoints.operations.desk import usd
from vpp.stages.pay import accrue

SITE = "s-001"


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("rosa", Role.OWNER, f"o-{SITE}")
    return await logged_in(suburb, "rosa")


async def begin(suburb: Suburb, *, event_id: str = "hot-1", mw: str = "0.05", starts_at: str = "now") -> None:
    await starting.start_event(
        suburb.desk,
        event_id=event_id,
        program_id=PROGRAM,
        power_mw=mw,
        starts_at=starts_at,
        actor="staff:ana",
    )


async def test_a_coming_event_says_when_how_much_and_how_low_in_local_time(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, starts_at="2026-09-09T19:00")

    page = await rosa.get("/owner")

    assert re.search(r'title="2026-09-10T02:00:00Z">Wed Sep 9, 7:00 PM PDT</time>', page.text)
    assert "At most 5.00 kWh may be used; your battery is never taken below 20 %" in page.text


async def test_a_battery_that_fell_silent_in_an_event_is_not_shown_as_working_for_it(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(300)
    working = await rosa.get("/owner")
    for _ in range(5):
        suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=15))
        suburb.report(silent=[1])
        await suburb.controller.turn()

    silent = await rosa.get("/owner")

    assert "Your battery is working for the event." in working.text
    assert 'class="badge stale">stale, 75 s old' in silent.text
    assert "Your battery is working for the event." not in silent.text


async def test_what_the_battery_does_now_carries_its_age(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    await begin(suburb)
    await suburb.pass_time(120)

    page = await rosa.get("/owner")
    suburb.clock.step_to(suburb.clock.now().replace(hour=4))
    later = await rosa.get("/owner")

    assert "live, 0 s old" in page.text
    assert "<dt>Giving</dt>" in page.text
    assert re.search(r"stale, \d+ (min|h) old", later.text)


async def test_a_limit_at_the_connection_is_said_to_the_owner_and_on_the_page_of_the_home(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await suburb.add("sue", Role.SUPPORT)
    sue = await logged_in(suburb, "sue")
    row = suburb.controller.roster.site_no_of[SITE]
    pages = []
    for limit_w in (5_000, 4_000):
        suburb.controller.fleet.discharge_limit_w[row] = limit_w
        staff = await sue.get(f"/operator/sites/{SITE}", params={"reason": "asked by phone"})
        pages.append(((await rosa.get("/owner")).text, staff.text))

    assert "Your connection allows 4.0 kW now, less than the 5.0 kW of your battery" in pages[1][0]
    assert "Limit at its connection" in pages[1][1]
    assert "Your connection allows" not in pages[0][0]
    assert "Limit at its connection" not in pages[0][1]


async def test_an_opt_out_in_the_middle_of_an_event_releases_the_home_and_can_be_taken_back(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    assert suburb.live.busy(suburb.clock.now())[1]

    out = await send(rosa, f"/owner/sites/{SITE}/opt-outs/hot-1")
    await suburb.controller.turn()
    after = await rosa.get("/owner")

    assert out.status_code == 303
    assert not suburb.live.busy(suburb.clock.now())[1]
    assert "You opted out." in after.text
    (said,) = await suburb.desk.store.opt_outs(["hot-1"])
    assert (said.site_id, said.origin) == (SITE, "portal")
    assert (await send(rosa, f"/owner/sites/{SITE}/opt-ins/hot-1")).status_code == 303
    assert "Opt out of this event" in (await rosa.get("/owner")).text


async def test_an_opt_out_from_a_page_older_than_the_end_is_told_so(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")

    answer = await send(rosa, f"/owner/sites/{SITE}/opt-outs/hot-1")

    assert answer.status_code == 409
    assert "This event was cancelled or is over, so nothing was changed." in answer.text
    assert await suburb.desk.store.opt_outs(["hot-1"]) == []


async def test_a_reserve_is_saved_and_binds_the_next_plan(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    saved = await send(rosa, f"/owner/sites/{SITE}/reserve", reserve="75")
    await begin(suburb)
    await suburb.pass_time(60)

    assert saved.headers["location"] == "/owner?saved=reserve#reserve"
    enrollment = await suburb.desk.enrollment(SITE)
    assert enrollment.reserve_permille == 750
    plan = suburb.plan("hot-1")
    assert plan.floor_permille[1] == 750 or plan.setpoint_w[1] == 0


@pytest.mark.parametrize("typed", ["", "101", "-5", "lots", "20.55"])
async def test_a_reserve_that_cannot_be_is_refused_beside_the_field(
    suburb: Suburb, rosa: httpx.AsyncClient, typed: str
) -> None:
    page = await send(rosa, f"/owner/sites/{SITE}/reserve", reserve=typed)

    assert page.status_code == 422
    assert 'id="reserve-fault"' in page.text
    assert (await suburb.desk.enrollment(SITE)).reserve_permille == 200


async def test_an_event_that_brought_nothing_stays_in_the_history_with_its_reason(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    now = suburb.clock.now()
    await begin(suburb)
    await suburb.desk.store.opt_out(OptOut(SITE, "hot-1", now, "portal"))
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)

    page = await rosa.get("/owner/events")
    detail = await rosa.get("/owner/events/hot-1")

    assert "You opted out" in page.text
    assert "0.00 kWh" in page.text
    assert "Nothing was earned at s-001: you opted out." in detail.text


async def test_a_statement_shows_every_factor_of_its_sum(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    suburb.clock.step_to(suburb.clock.now().replace(minute=30))
    await money.settle_event(suburb.desk, event_id="hot-1")

    page = await rosa.get("/owner/events/hot-1")
    hours = list(csv.DictReader(io.StringIO((await rosa.get("/owner/events/hot-1/hours.csv")).text)))

    assert "What counts is the energy your battery discharged" in page.text
    assert "0.00 kWh × $2.00 per kWh × your share 1.00 = $0.00" in page.text
    assert "Rounded once, half up, to the cent: $0.00" in page.text
    assert "no reading: counts as zero<br><small>No reading.</small>" in page.text
    assert "Sent to the grid" not in page.text  # nobody shares a grid meter here
    assert [(hour["quality"], hour["reason"]) for hour in hours] == [("MISSING", "no reading")]
    assert (hours[0]["rounding"], hours[0]["event_amount_usd"]) == ("half up to the cent, once", "0.00")
    assert hours[0]["starts_at_local"] == "2026-09-09 18:00:00 PDT"


async def test_whoever_shares_the_grid_meter_reads_what_was_sent_to_the_grid(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    suburb.clock.step_to(suburb.clock.now().replace(hour=2, minute=30))
    content = (
        "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
        f"{SITE},2026-09-10T01:00:00Z,1000,900,200,500,OK\n"
        f"{SITE},2026-09-10T01:30:00Z,3000,900,450,1500,OK\n"
        f"{SITE},2026-09-10T02:00:00Z,5000,900,450,3000,OK\n"
    )
    await metering.import_readings(suburb.desk, content=content.encode(), file_name="meter.csv")
    await money.settle_event(suburb.desk, event_id="hot-1")

    page = await rosa.get("/owner/events/hot-1")
    (hour,) = csv.DictReader(io.StringIO((await rosa.get("/owner/events/hot-1/hours.csv")).text))

    assert 'data-label="Sent to the grid">2.50 kWh</td>' in page.text
    assert "because you share your grid meter" in page.text
    assert (hour["metered_wh"], hour["exported_wh"]) == ("4000", "2500")


async def test_an_event_of_two_homes_of_one_owner_is_one_event_of_the_season(suburb: Suburb) -> None:
    content = an_enrollment_file("a-1", "a-2", owner_id="o-ann")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.controller.turn()
    suburb.report()
    await suburb.add("ann", Role.OWNER, "o-ann")
    await begin(suburb, mw="0.07")
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    suburb.clock.step_to(suburb.clock.now().replace(minute=30))
    await money.settle_event(suburb.desk, event_id="hot-1")

    page = await (await logged_in(suburb, "ann")).get("/owner/events")

    assert page.text.count('href="/owner/events/hot-1"') == 2
    assert "Season from Fri May 1, 2026</strong><br>1 event, 0.00 kWh counted" in page.text


@pytest.mark.parametrize(
    ("terms", "on_event", "on_list"),
    [
        (
            {"tariff": Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal("225.00"))},
            "÷ 0.5166666… h = 0.00 kW. This program pays the mean of such powers",
            "0.00 kW × $225.00 per kW × your share 1.00 = $0.00",
        ),
        (
            {"meter": MeterOfRecord.SITE, "rate": Price(Decimal("2.00"))},
            "Each hour: usual on similar days − drawn from the grid = less than usual.",
            "how much less energy your home drew from the grid",
        ),
    ],
)
async def test_the_pages_of_another_program_speak_of_what_it_pays(
    suburb: Suburb, rosa: httpx.AsyncClient, terms: dict[str, Any], on_event: str, on_list: str
) -> None:
    program = suburb.controller.programs[PROGRAM]
    changed = replace(program.editions[0], **({"rate": Price(Decimal(0))} | terms))
    assert isinstance(suburb.controller.programs, dict)  # the desk's too
    suburb.controller.programs[PROGRAM] = replace(program, editions=(changed,))
    await begin(suburb)
    await suburb.pass_time(60)
    suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=30))
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await money.settle_event(suburb.desk, event_id="hot-1")

    event, listed = (await rosa.get("/owner/events/hot-1")).text, (await rosa.get("/owner/events")).text

    assert on_event in event
    assert on_list in listed
    assert "your battery gave no more than on similar days" not in event


async def test_an_owner_takes_everything_along_and_nothing_of_anybody_else(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")

    export = await rosa.get("/owner/export.json")
    table = await rosa.get("/owner/events.csv")

    assert json.loads(export.text)["owner_id"] == f"o-{SITE}"
    assert "s-002" not in export.text
    assert "o-s-002" not in export.text
    assert table.text.splitlines()[0].startswith(
        "event_id,name,test,site_id,starts_at,starts_at_local,ends_at,ends_at_local"
    )
    assert len(table.text.splitlines()) == 2


async def test_the_file_of_events_says_the_year_and_why_in_the_owners_language(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await sites.opt_out_site(suburb.desk, event_id="hot-1", site_id=SITE, actor="staff:ana")
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await send(rosa, "/owner/language", language="es")

    (row,) = csv.DictReader(io.StringIO((await rosa.get("/owner/events.csv")).text))

    assert (row["starts_at"], row["starts_at_local"]) == ("2026-09-10T01:00:00Z", "2026-09-09 18:00:00 PDT")
    assert row["sentence"] == "usted no quiso participar"


async def test_an_event_of_another_program_is_no_event_of_mine(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    assert (await rosa.get("/owner/events/hot-9")).status_code == 404


async def test_consent_and_what_is_never_collected_are_said(rosa: httpx.AsyncClient) -> None:
    page = await rosa.get("/owner/data")

    assert "Consent given (text 2026-1)" in page.text
    assert "Joined ELRP A.4, PG&amp;E" in page.text
    assert "never collected" in page.text
    assert "Nobody of the staff has looked" in page.text


async def test_what_one_owner_sees_does_not_depend_on_any_other(tmp_path: Path) -> None:
    pages = []
    for folder, power in (("one", "0.02"), ("two", "0.02")):
        (tmp_path / folder).mkdir()
        suburb = await a_suburb(tmp_path / folder)
        await suburb.add("rosa", Role.OWNER, f"o-{SITE}")
        if folder == "two":
            await suburb.add("sam", Role.OWNER, "o-s-005")
            sam = await logged_in(suburb, "sam")
            await send(sam, "/owner/sites/s-005/reserve", reserve="90")
        await begin(suburb, mw=power, starts_at="2026-09-09T19:00")
        page = await (await logged_in(suburb, "rosa")).get("/owner")
        pages.append(re.sub(r'name="form_token" value="\w+"', "", page.text))

    assert pages[0] == pages[1]


async def test_a_corrected_event_is_final_and_only_what_counts_is_summed(suburb: Suburb) -> None:
    await suburb.add("rosa", Role.OWNER, f"o-{SITE}")
    await begin(suburb)
    await suburb.pass_time(60)
    lines, counter_wh = ["site_id,at,discharged_wh,charged_wh,quality"], 0
    for day in range(20, -1, -1):
        at = EVENING - timedelta(days=day)
        lines += [f"{SITE},{at:%Y-%m-%dT%H}:00:00Z,{counter_wh},900,OK"]
        counter_wh += 50 if day == 0 else 74 if day == 1 else 73
        lines += [f"{SITE},{at + timedelta(hours=1):%Y-%m-%dT%H}:00:00Z,{counter_wh},900,OK"]
    suburb.clock.step_to(EVENING + timedelta(hours=2))
    await metering.import_readings(suburb.desk, content="\n".join(lines).encode(), file_name="meter.csv")
    suburb.clock.step_to(EVENING + timedelta(days=12))
    await money.settle_event(suburb.desk, event_id="hot-1")
    rosa = await logged_in(suburb, "rosa")
    before = await rosa.get("/owner/events/hot-1")
    await suburb.desk.store.exclude_day(SITE, (EVENING - timedelta(days=2)).date(), "outage", at=EVENING)
    await books.correct_event(suburb.desk, event_id="hot-1", reason="an outage", actor="staff:ana")

    page = await rosa.get("/owner/events/hot-1")
    listed = await rosa.get("/owner/events")

    assert "<small>Final</small>" in before.text
    assert "<small>Final, corrected</small>" in page.text
    assert "Corrected on" in page.text
    assert "Not final" not in page.text
    assert '<td class="number" data-label="Counted">0.00 kWh</td>' in listed.text
    assert "1 event, 0.00 kWh counted, $0.00" in listed.text


async def test_every_hour_says_its_rate_and_dollars_and_a_file_writes_decimals(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    suburb.clock.step_to(suburb.clock.now().replace(hour=2, minute=30))
    lines, counter_wh = ["site_id,at,discharged_wh,charged_wh,quality"], 0
    for day in range(20, -1, -1):
        at = EVENING - timedelta(days=day)
        hour_wh = 4000 if day == 0 else 74 if day == 1 else 73
        lines += [f"{SITE},{at:%Y-%m-%dT%H}:00:00Z,{counter_wh},900,OK"]
        counter_wh += hour_wh
        lines += [f"{SITE},{at + timedelta(hours=1):%Y-%m-%dT%H}:00:00Z,{counter_wh},900,OK"]
    await metering.import_readings(suburb.desk, content="\n".join(lines).encode(), file_name="meter.csv")
    await money.settle_event(suburb.desk, event_id="hot-1")

    page = await rosa.get("/owner/events/hot-1")
    (hour,) = csv.DictReader(io.StringIO((await rosa.get("/owner/events/hot-1/hours.csv")).text))
    with zipfile.ZipFile(io.BytesIO((await rosa.get("/owner/export.zip")).content)) as archive:
        (kept,) = csv.DictReader(io.StringIO(archive.read("hours.csv").decode()))

    assert 'data-label="Amount">$7.8538</td>' in page.text
    assert 'data-label="Per kWh, your share">$2.00</td>' in page.text
    for row in (hour, kept):
        assert (row["baseline_wh"], row["incremental_wh"]) == ("73.1", "3926.9")
        assert (row["own_rate_usd_per_kwh"], row["amount_usd_before_netting"]) == ("2", "7.8538")


async def test_a_year_of_credit_stands_on_the_owners_page_month_by_month_with_its_sum(
    suburb: Suburb,
) -> None:
    program = suburb.controller.programs[PROGRAM]
    credit = Tariff(
        TariffRule.FIXED_CREDIT, credit=Decimal("220.00"), credit_every=Period.YEAR,
        credit_paid_every=Period.MONTH,
    )  # fmt: skip
    changed = replace(program.editions[0], tariff=credit, season_first=(1, 1), season_last=(12, 31))
    assert isinstance(suburb.controller.programs, dict)  # the desk's too
    suburb.controller.programs[PROGRAM] = replace(program, editions=(changed,))
    await suburb.add("rosa", Role.OWNER, f"o-{SITE}")
    suburb.clock.step_to(suburb.clock.now() + timedelta(days=60))
    await accrue(suburb.desk.programs, store=suburb.desk.store, clock=suburb.clock)

    listed = (await (await logged_in(suburb, "rosa")).get("/owner/events")).text

    assert "1 Powerwalls enrolled × $220.00 per Powerwall × your share 1.00" in listed
    assert "10 of 12 months are $183.33, 9 of 12 are $165.00; the difference is this month" in listed
    assert "11 of 12 months are $201.67, 10 of 12 are $183.33" in listed
    assert "2 months, seasons or years, $36.67" in listed


async def test_the_owners_pages_show_corrections_answers_and_what_was_written_off(suburb: Suburb) -> None:
    program, owner_id = suburb.controller.programs[PROGRAM], f"o-{SITE}"
    delivered = replace(
        program.editions[0], tariff=Tariff(TariffRule.PER_KWH_DELIVERED), baseline_method="none"
    )
    assert isinstance(suburb.controller.programs, dict)  # the desk's too
    suburb.controller.programs[PROGRAM] = replace(program, editions=(delivered,))
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
    rows = [
        f"{SITE},2026-09-10T0{1 + each // 60}:{each % 60:02d}:00Z,{2_000 + each * 80},0,,,OK\n"
        for each in (0, 5)
    ]
    for days, row in ((0, rows[0]), (9, rows[1])):
        suburb.clock.step_to(suburb.clock.now() + timedelta(days=days, minutes=30))
        await metering.import_readings(suburb.desk, content=(header + row).encode(), file_name="meter.csv")
        await money.settle_event(suburb.desk, event_id="hot-1")
    await disputes.ask_dispute(
        suburb.desk, owner_id=owner_id, period="hot-1", text="Where is it?", actor="owner:rosa"
    )
    await disputes.answer_dispute(
        suburb.desk, owner_id=owner_id, period="hot-1", text="Here it is.", actor="staff:ana", correct=True
    )
    (entry,) = [each for each in await suburb.desk.store.entries(owner_id=owner_id) if each.state == "posted"]
    paid_usd = usd(owed_by(entry, owner_id))
    await payouts.run_payout(suburb.desk, run_id="r-1")
    await payouts.confirm_payout(suburb.desk, run_id="r-1")
    taken = reversed_postings(entry)
    await suburb.desk.store.post([replace(entry, entry_id="x", postings=taken, settles=None, resolves=None)])
    await own_data.leave_program(suburb.desk, owner_id=owner_id, site_id=SITE, actor="owner:rosa")
    await write_offs.write_off_owner(suburb.desk, owner_id=owner_id, reason="moved", actor="staff:ana")
    await suburb.add("rosa", Role.OWNER, owner_id)

    rosa = await logged_in(suburb, "rosa")
    event, listed = (await rosa.get("/owner/events/hot-1")).text, (await rosa.get("/owner/events")).text

    assert paid_usd != "0.00"
    assert (
        f"$0.00 was taken back and ${paid_usd} booked. Correction by staff:ana: dispute of {owner_id}"
        in event
    )
    assert "Here it is." in listed
    assert "Debts that were written off" in listed
    assert f"${paid_usd} that you owed was borne by us. Written off by staff:ana: moved" in listed
