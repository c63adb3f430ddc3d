"""What programs and owners are told of an event, a season and a month."""

import csv
import io
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.domain.money_world import EVENT_DAY, a_program, an_evening_history, local
from tests.entrypoints.test_books_and_payouts import CLOSED, a_desk
from tests.stages.money_story import TEN_DAYS, MoneyStory, a_dispatched_home
from vpp.adapters.clock import SteppedClock
from vpp.domain.ledger import Account, balances
from vpp.domain.program import NegativePolicy, Tariff, TariffRule
from vpp.domain.quantities import Price
from vpp.entrypoints.demo import Sums
from vpp.entrypoints.operations.money import settle_event, show_statement, verify_ledger
from vpp.entrypoints.operations.owner import show_own_events
from vpp.entrypoints.operations.reports import report_event
from vpp.entrypoints.rendering import exact_kilowatt_hours
from vpp.entrypoints.rendering_statement import show_statement as show


def rows(text: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(str(text))))


async def test_a_program_is_told_each_hour_over_all_sites_with_its_quality(tmp_path: Path):
    story = MoneyStory(clock=SteppedClock(CLOSED))
    await story.home("ada", an_evening_history([4_000, 4_000, 4_000], TEN_DAYS))
    await story.home("ben", an_evening_history([500, 500, 500], TEN_DAYS))
    await story.home("new", an_evening_history([4_000, 4_000, 4_000], TEN_DAYS[:9]))
    await story.event()
    await story.dispatched(0, 1, 2)
    await story.settled_and_paid()

    found = await report_event(a_desk(story, tmp_path), event_id="ev-1")

    hours = rows(found["hours_csv"])
    assert [(each["hour_ending"], each["asked_wh"], each["sites"], each["counted"]) for each in hours] == [
        (hour, "10000", "3", "2") for hour in ("19", "20", "21")
    ]
    assert (hours[0]["metered_wh"], hours[0]["baseline_wh"], hours[0]["incremental_wh"]) == (
        "4500",
        "2000",
        "2500",
    )
    assert hours[0]["quality"] == "MISSING"  # a site without a baseline is in it
    assert len(rows(found["sites_csv"])) == 9


ODD_DAYS = [[1_000 + 7 * day + hour for hour in range(3)] for day in range(10)]


@pytest.mark.parametrize(
    ("terms", "most_wh"),
    [
        ({}, None),
        ({"negative_policy": NegativePolicy.CLAMP_INTERVAL}, None),
        ({"negative_policy": NegativePolicy.NET_SEASON_FLOOR_ZERO}, None),
        ({"owner_share": Decimal("0.80"), "rate": Price(Decimal("1.2345678"))}, None),
        ({"tariff": Tariff(bonus=Decimal("1.30"))}, None),
        ({"tariff": Tariff(cap_kwh=Decimal("2.5"))}, 2_500),
        ({"tariff": Tariff(cap_amount=Decimal("3.33"))}, None),
        ({"tariff": Tariff(minimum_amount=Decimal("7.77"))}, None),
    ],
)
async def test_the_hours_told_to_a_program_sum_to_what_the_books_say_it_owes(
    tmp_path: Path, terms: dict[str, Any], most_wh: int | None
):
    story = MoneyStory(clock=SteppedClock(CLOSED), program=a_program(**terms))
    await story.home("ada", an_evening_history([4_001, 4_002, 4_003], ODD_DAYS))
    await story.home("ben", an_evening_history([500, 2_999, 1_777], ODD_DAYS))
    await story.home("low", an_evening_history([10, 20, 30], ODD_DAYS))
    await story.home("new", an_evening_history([4_000, 4_000, 4_000], TEN_DAYS[:9]))
    await story.event(starts_at=local(EVENT_DAY, 18, 7), ends_at=local(EVENT_DAY, 20, 41))
    await story.dispatched(0, 1, 2, 3)
    settlement = await story.settled_and_paid()

    found = await report_event(a_desk(story, tmp_path), event_id="ev-1")

    hours = rows(found["hours_csv"])
    told = sum(Decimal(each["receivable_usd"]) for each in hours)
    owed = balances(await story.books())[Account.PROGRAM_RECEIVABLE, story.program.program_id]
    assert told * 1_000_000 == owed.posted == sum(line.gross for line in settlement.lines)
    assert told > 0
    energies = sum(Fraction(each["paid_wh"]) for each in hours)
    assert energies == sum(min(line.paid_wh, most_wh or line.paid_wh) for line in settlement.lines)
    beyond = sum(Fraction(each["incremental_wh"]) for each in hours)
    assert beyond == sum(line.incremental_wh for line in settlement.lines)
    report: Any = found["openadr_report"]
    sent = [each["payloads"][1]["values"][0] for each in report["resources"][0]["intervals"]]
    assert sum(sent) == pytest.approx(-float(beyond) / 1_000, abs=1e-9)
    assert (hours[0]["currency"], len(hours)) == ("USD", 3)


async def test_energies_are_summed_as_they_are_and_not_home_by_home_rounded(tmp_path: Path):
    story = MoneyStory(clock=SteppedClock(CLOSED))
    for name in ("ada", "ben", "cem"):
        await story.home(name, an_evening_history([4_000, 4_000, 4_000], [*ODD_DAYS[:-1], [1_061] * 3]))
    await story.event()
    await story.dispatched(0, 1, 2)
    settlement = await story.settled_and_paid()
    desk = a_desk(story, tmp_path)
    (each,) = {line.incremental_wh for line in settlement.lines}
    assert each != round(each)
    assert round(3 * each) != 3 * round(each)

    demo = Sums()
    await demo.add_all(story.store, ["ev-1"])
    own: Any = await show_own_events(desk, owner_id="owner-ada")

    assert demo.incremental_wh == 3 * each
    assert Fraction(own["events"][0]["incremental_wh"]) == Fraction(own["events"][0]["paid_wh"]) == each


async def test_an_hour_is_paid_what_it_adds_where_nothing_takes_from_it(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()

    found = await report_event(a_desk(story, tmp_path), event_id="ev-1")

    paid = [(each["paid_wh"], each["receivable_usd"]) for each in rows(found["hours_csv"])]
    assert paid == [("3000", "6.000000")] * 3


async def test_an_openadr_report_speaks_of_consumption(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()

    found: Any = await report_event(a_desk(story, tmp_path), event_id="ev-1")

    report = found["openadr_report"]
    assert (report["objectType"], report["eventID"], report["clientName"]) == ("REPORT", "ev-1", "vpp")
    (resource,) = report["resources"]
    first = resource["intervals"][0]
    assert first["intervalPeriod"] == {"start": "2026-09-10T01:00:00Z", "duration": "PT1H"}
    assert first["payloads"] == [
        {"type": "BASELINE", "values": [-1.0]},
        {"type": "DELTA_USAGE", "values": [-3.0]},
        {"type": "DATA_QUALITY", "values": ["OK"]},
    ]


async def test_a_statement_sums_a_season(tmp_path: Path):
    story = await a_dispatched_home(now=CLOSED)
    await story.settled_and_paid()

    statement: Any = await show_statement(a_desk(story, tmp_path), owner_id="owner-home")

    assert statement["periods"] == []
    assert statement["seasons"] == [
        {
            "program_id": "elrp-a4-pge",
            "currency": "USD",
            "season_starts_on": "2026-05-01",
            "events": 1,
            "periods": 0,
            "incremental_wh": 9_000,
            "paid_wh": 9_000,
            "amount_usd": "18.00",
        }
    ]
    shown = Console(width=160, record=True, file=StringIO())
    show(shown, statement)
    assert "elrp-a4-pge, season from 2026-05-01: 1 event, 9.00 kWh counted, $18.00" in shown.export_text()


async def test_a_season_that_pays_for_power_accrues_as_pending_and_counts_an_opt_out_as_nothing(
    tmp_path: Path,
):
    tariff = Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal(275))
    program = a_program(tariff=tariff, baseline_method="none", rate=Price(Decimal(0)))
    story = MoneyStory(clock=SteppedClock(CLOSED), program=program)
    await story.home("home", an_evening_history([5_000, 5_000, 5_000], []))
    await story.home("outed", an_evening_history([0, 0, 0], []))
    await story.event()
    await story.opted_out("outed", at=local(EVENT_DAY, 17))
    await story.dispatched(0)
    desk = a_desk(story, tmp_path)

    await settle_event(desk, event_id="ev-1")
    await settle_event(desk, event_id="ev-1")

    statement: Any = await show_statement(desk, owner_id="owner-home")
    (period,) = statement["periods"]
    assert (period["period"], period["state"], period["booked_usd"]) == (
        "season-2026-05-01",
        "provisional",
        "1375.00",
    )
    assert period["how"] == "5.00 kW, the mean of 1 event"
    assert await story.owed("home") == (0, 137_500)
    assert await story.owed("outed") == (0, 0)
    assert (await verify_ledger(desk))["balanced"]


def test_a_statement_prints_energy_to_its_last_decimal_so_that_the_cent_can_be_reached_by_hand():
    shown = [exact_kilowatt_hours(energy_wh) for energy_wh in (3_893, "3417/10", "65729/10", None)]

    assert shown == ["3.893 kWh", "0.3417 kWh", "6.5729 kWh", "-"]
