"""Before anybody is asked: what an event would get, how firm it is, how much to ask, and what it costs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.enrollment import OptOut
from vpp.domain.program import Tariff, TariffRule
from vpp.domain.quantities import Price, WattHours
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.events import cancel_event
from vpp.entrypoints.operations.nominations import nominate_power
from vpp.entrypoints.operations.preview import preview_event
from vpp.entrypoints.operations.rehearsal import rehearse_event
from vpp.entrypoints.operations.starting import start_event
from vpp.entrypoints.rendering_capacity import show_preview


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def preview(suburb: Suburb, **wish: Any) -> Any:
    return await preview_event(suburb.desk, program_id=PROGRAM, **wish)


async def a_past_event(suburb: Suburb, gives_permille: Sequence[int]) -> None:
    """Run an hour in which each home gives a share of what it was asked, by its meter."""
    await start_event(
        suburb.desk, event_id="ev-past", program_id=PROGRAM, power_mw="0.036", minutes=60, actor="staff:ana"
    )
    begins = suburb.clock.now()
    await suburb.pass_time(3_600 + 15)
    for row, permille in enumerate(gives_permille):
        site_id = suburb.controller.roster.site_id(row)
        readings = tuple(
            MeterReading(
                site_id=site_id, boot_id="b" * 32, index=index, at=begins + timedelta(minutes=5 * index),
                discharged_wh=WattHours(250 * index * permille // 1000), charged_wh=WattHours(0),
                soc_permille=None, quality=Quality.OK,
            )
            for index in range(1, 13)
        )  # fmt: skip
        first = replace(readings[0], index=0, at=begins, discharged_wh=WattHours(0))
        message = MeterMessage(site_id, "b" * 32, 0, (first, *readings))
        await suburb.desk.store.append([message], at=suburb.clock.now())


async def test_preview_says_what_is_asked_beyond_the_nomination_of_the_month(suburb: Suburb) -> None:
    without = await preview(suburb, power_mw="0.02")
    month = suburb.clock.now().strftime("%Y-%m")
    await nominate_power(suburb.desk, program_id=PROGRAM, month=month, power_mw="0.015", actor="staff:ana")

    beyond = await preview(suburb, power_mw="0.02")
    inside = await preview(suburb, power_mw="0.015")

    assert [(each["nominated_w"], each["over_nominated_w"]) for each in (without, beyond, inside)] == [
        (None, 0), (15_000, 5_000), (15_000, 0),
    ]  # fmt: skip


async def test_preview_commands_nobody_and_stores_nothing(suburb: Suburb) -> None:
    found = await preview(suburb, power_mw="0.02")
    await suburb.pass_time(60)

    assert found["planned_w"] == 20_000
    assert await suburb.desk.store.histories() == []
    assert (await suburb.desk.store.last_tick()).sequence == 0


async def test_firm_power_lies_under_what_the_homes_could_hold(suburb: Suburb) -> None:
    found = await preview(suburb, minutes=120)

    firm = found["firm"]
    assert 0 < firm["p90_w"] < firm["p50_w"] < firm["p10_w"] <= found["window_w"]
    assert found["window_w"] <= found["now_w"]
    assert found["events"] == 0
    assert "90 %" in found["prior"]
    assert found["selection"] is None


async def test_firm_power_is_told_by_utility_county_and_feeder(suburb: Suburb) -> None:
    found = await preview(suburb)

    for key, name in (("firm_by_utility", "PGE"), ("firm_by_county", "Alameda"), ("firm_by_feeder", "f-1")):
        (group,) = found[key]
        assert (group["name"], group["sites"]) == (name, 12)
        assert {key: group[key] for key in ("p90_w", "p50_w", "p10_w")} == found["firm"]


async def test_more_is_asked_than_wished_to_be_sure(suburb: Suburb) -> None:
    sure = (await preview(suburb, power_mw="0.02", confidence_pct=95))["selection"]
    likely = (await preview(suburb, power_mw="0.02", confidence_pct=60))["selection"]
    too_much = (await preview(suburb, power_mw="0.059"))["selection"]

    assert sure["enough"]
    assert sure["ask_w"] > likely["ask_w"] > 20_000
    assert sure["reaches_w"] >= 20_000
    assert not too_much["enough"]


async def test_homes_that_gave_little_before_lower_what_is_firm(suburb: Suburb) -> None:
    before = await preview(suburb)
    await a_past_event(suburb, [1_000] * 4 + [300] * 8)
    suburb.report()

    after = await preview(suburb)

    assert after["events"] == 1
    assert after["window_w"] == before["window_w"]
    assert after["firm"]["p50_w"] < before["firm"]["p50_w"]


async def test_a_false_alarm_that_is_called_off_at_once_says_nothing_of_what_homes_give(
    suburb: Suburb,
) -> None:
    before = await preview(suburb)
    await start_event(
        suburb.desk, event_id="ev-off", program_id=PROGRAM, power_mw="0.036", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(90)
    await cancel_event(suburb.desk, event_id="ev-off", actor="staff:ana")
    await suburb.pass_time(60)
    row_readings = [
        MeterReading(
            suburb.controller.roster.site_id(row), "b" * 32, index,
            suburb.clock.now() + timedelta(minutes=5 * index - 10), WattHours(0), WattHours(0), None,
            Quality.OK,
        )
        for row in range(12)
        for index in range(4)
    ]  # fmt: skip
    for reading in row_readings:
        message = MeterMessage(reading.site_id, "b" * 32, reading.index, (reading,))
        await suburb.desk.store.append([message], at=suburb.clock.now())

    after = await preview(suburb)

    assert after["events"] == 0
    assert after["firm"] == before["firm"]


async def test_owners_who_said_no_before_lower_what_is_firm(suburb: Suburb) -> None:
    before = await preview(suburb)
    await a_past_event(suburb, [1_000] * 12)
    kept = await preview(suburb)
    for row in range(6):
        site_id = suburb.controller.roster.site_id(row)
        await suburb.desk.store.opt_out(OptOut(site_id, "ev-past", suburb.clock.now(), "portal"))

    said_no = await preview(suburb)

    assert said_no["firm"]["p50_w"] < before["firm"]["p50_w"] <= kept["firm"]["p50_w"]


async def test_network_limits_bind_the_forecast(suburb: Suburb) -> None:
    suburb.controller.terms = replace(suburb.controller.terms, feeder_caps_w={"f-1": 12_000})

    found = await preview(suburb, power_mw="0.02")

    assert (found["planned_w"], found["window_w"]) == (12_000, 12_000)
    assert found["shortfall_w"] == 8_000


async def something_on(suburb: Suburb, power_mw: str, priority: int | None = None) -> None:
    """Let an event run for a minute; with a priority it comes before any of the console."""
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw=power_mw, minutes=60,
        name="Real emergency", actor="staff:ana",
    )  # fmt: skip
    history = await suburb.desk.history("ev-1")
    if priority is not None:
        await suburb.desk.store.append_version(
            replace(history.latest, version=2, priority=priority, committed_at=suburb.clock.now()),
            actor="staff:ana",
        )
    await suburb.pass_time(60)


async def test_homes_of_an_event_that_comes_before_it_are_not_promised_twice(suburb: Suburb) -> None:
    await something_on(suburb, "0.059", priority=1)

    found = await preview(suburb)

    assert found["reasons"] == {"not_needed": 12}
    assert found["firm"]["p50_w"] == 0
    assert found["takes_from"] == []


@pytest.mark.parametrize("power_mw", ["0.04", "0.02", "all"])
async def test_preview_tells_what_the_event_gets_from_one_that_is_on_and_so_it_comes(
    suburb: Suburb, power_mw: str
) -> None:
    await something_on(suburb, "0.04")
    before = suburb.plan("ev-1")

    found = await preview(suburb, power_mw=power_mw)
    printed = StringIO()
    show_preview(Console(file=printed, width=120), found)
    await start_event(
        suburb.desk, event_id="drill", program_id=PROGRAM, power_mw=power_mw, minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(15)
    drill, lost_w = suburb.plan("drill"), 40_000 - int(suburb.plan("ev-1").setpoint_w.sum())

    assert (found["planned_w"], found["sites"]) == (
        int(drill.setpoint_w.sum()), int((drill.setpoint_w > 0).sum()),
    )  # fmt: skip
    taken = int(((drill.setpoint_w > 0) & (before.setpoint_w > 0)).sum())
    assert taken > 0
    assert found["takes_from"] == [
        {"event_id": "ev-1", "name": "Real emergency", "test": False, "sites": taken, "power_w": lost_w}
    ]
    assert f"{taken} homes and {lost_w / 1000:.1f} kW from Real emergency, which is on" in printed.getvalue()


async def test_preview_of_a_later_event_takes_from_what_is_still_on_then(suburb: Suburb) -> None:
    await something_on(suburb, "0.059")
    later = [(suburb.clock.now() + timedelta(minutes=minutes)).isoformat() for minutes in (30, 90)]

    within = await preview(suburb, power_mw="0.02", starts_at=later[0], minutes=20)
    after = await preview(suburb, power_mw="0.02", starts_at=later[1], minutes=20)

    assert [each["event_id"] for each in within["takes_from"]] == ["ev-1"]
    assert (within["planned_w"], after["planned_w"], after["takes_from"]) == (20_000, 20_000, [])


async def test_preview_beside_an_event_leaves_the_controller_as_it_was(suburb: Suburb) -> None:
    await something_on(suburb, "0.04")
    board = suburb.controller.board
    assert board is not None
    before = board.events.words, dict(board.plans), board.leases.event_no.tolist()

    await preview(suburb)

    assert (board.events.words, dict(board.plans), board.leases.event_no.tolist()) == before


async def a_full_evening(suburb: Suburb) -> None:
    """Ask every home for 13.2 kWh in three hours, and let a new process take over when nothing is on."""
    suburb.charge_permille = 900
    for event_id in ("ev-1", "ev-2"):
        await start_event(
            suburb.desk,
            event_id=event_id,
            program_id=PROGRAM,
            power_mw="0.054",
            minutes=88,
            actor="staff:ana",
        )
        await suburb.pass_time(88 * 60 + 15)
    await suburb.pass_time(45 * 60)
    suburb.controller.board = None
    suburb.controller.runner.wake()
    await suburb.pass_time(15)


@pytest.mark.parametrize(("hours", "cycles"), [(2, None), (None, 1)])
async def test_homes_that_did_their_part_are_not_promised_after_a_restart(
    suburb: Suburb, hours: int | None, cycles: int | None
) -> None:
    program = suburb.desk.programs[PROGRAM]
    limited = tuple(replace(terms, cap_cycles=cycles) for terms in program.editions)
    suburb.controller.programs = {PROGRAM: replace(program, editions=limited)}
    suburb.desk = replace(suburb.desk, programs=suburb.controller.programs)
    cap_s = None if hours is None else 3_600 * hours
    suburb.controller.terms = replace(suburb.controller.terms, site_season_cap_s=cap_s)
    before = await preview(suburb, power_mw="0.04")
    await a_full_evening(suburb)

    found = await preview(suburb, power_mw="0.04")
    rehearsed = await rehearse_event(suburb.desk, program_id=PROGRAM, power_mw="0.04", minutes=30)

    assert (before["planned_w"], before["reasons"]) == (40_000, {"selected": 12})
    assert (found["planned_w"], found["firm"]["p90_w"], found["reasons"]) == (0, 0, {"season_cap": 12})
    assert (rehearsed["delivered_wh"], rehearsed["reasons"]) == (0, {"season_cap": 12})


async def test_what_is_scheduled_in_the_same_window_is_named_beside_what_is_promised(
    suburb: Suburb,
) -> None:
    later = [(suburb.clock.now() + timedelta(minutes=minutes)).isoformat() for minutes in (60, 120, 180)]
    before = await preview(suburb, starts_at=later[0], minutes=120)
    for event_id, starts_at, power_mw in (
        ("tonight", later[0], "0.055"), ("next", later[1], "0.02"), ("last", later[2], "0.03"),
    ):  # fmt: skip
        await start_event(
            suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=power_mw, minutes=60,
            starts_at=starts_at, actor="staff:ana",
        )  # fmt: skip
    await suburb.pass_time(30)

    both = await preview(suburb, starts_at=later[0], minutes=120)
    one = await preview(suburb, starts_at=later[1], minutes=60)
    now = await preview(suburb, minutes=30)
    printed = StringIO()
    show_preview(Console(file=printed, width=120), both)

    assert (before["scheduled"], before["scheduled_w"]) == ([], 0)
    assert (both["scheduled"], both["scheduled_w"]) == (["next", "tonight"], 55_000)
    assert (one["scheduled"], one["scheduled_w"]) == (["next"], 20_000)
    assert now["scheduled"] == []
    assert "55.0 kW, scheduled in this window by next, tonight" in printed.getvalue()


async def test_what_is_on_is_not_named_as_scheduled(suburb: Suburb) -> None:
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="all", minutes=60, actor="staff:ana"
    )
    starts_at = (suburb.clock.now() + timedelta(minutes=30)).isoformat()
    await suburb.pass_time(60)
    on = await preview(suburb)
    await start_event(
        suburb.desk, event_id="ev-2", program_id=PROGRAM, power_mw="all", minutes=60, starts_at=starts_at,
        actor="staff:ana",
    )  # fmt: skip

    beside = await preview(suburb)

    assert (on["scheduled"], on["scheduled_w"]) == ([], 0)
    assert (beside["scheduled"], beside["scheduled_w"]) == (["ev-2"], None)


async def test_cost_is_the_programs_rate_times_the_energy(suburb: Suburb) -> None:
    found = await preview(suburb, power_mw="0.02", minutes=90)

    assert found["cost_usd"] == "60.00"
    assert found["cost_p50_usd"] == "54.00"
    assert found["paid_by"] == "event"
    for key in ("firm_by_utility", "firm_by_county", "firm_by_feeder"):
        assert [(each["planned_w"], each["cost_usd"]) for each in found[key]] == [(20_000, "60.00")]


async def test_a_test_costs_nothing_because_it_is_never_paid(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")
    wish = {"event_id": "drill", "program_id": PROGRAM, "power_mw": "0.02", "minutes": "90"}
    found = await preview(suburb, power_mw="0.02", minutes=90, test=True)
    printed = StringIO()
    show_preview(Console(file=printed, width=120), found)
    page = await send(ana, "/operator/new-event", **wish, test="yes")
    named = await send(ana, "/operator/new-event", **wish, name="TEST of Friday")
    file = await ana.get("/operator/preview.csv", params=wish | {"test": "yes"})

    assert (found["test"], found["cost_usd"], found["cost_p50_usd"]) == (True, "0.00", "0.00")
    assert {each["cost_usd"] for each in found["firm_by_county"]} == {"0.00"}
    assert "nothing: a test is never paid" in printed.getvalue()
    for shown in (page.text, named.text):
        assert "<dt>Costs</dt><dd>nothing: a test is never paid</dd>" in shown
        assert "$" not in shown
        assert "test=yes" in shown
    assert "60.00" not in file.text


def paying(suburb: Suburb, tariff: Tariff, rate: str = "0") -> None:
    """Let the program pay otherwise."""
    program = suburb.desk.programs[PROGRAM]
    editions = tuple(replace(terms, tariff=tariff, rate=Price(Decimal(rate))) for terms in program.editions)
    suburb.controller.programs = {PROGRAM: replace(program, editions=editions)}
    suburb.desk = replace(suburb.desk, programs=suburb.controller.programs)


@pytest.mark.parametrize(
    ("tariff", "paid_by"),
    [
        (Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal(275)), "season"),
        (Tariff(TariffRule.PER_KW_MONTH_WEIGHTED, per_kw_month=((9, Decimal("14.97")),)), "month"),
    ],
)
async def test_what_is_paid_for_power_has_no_cost_by_event(
    suburb: Suburb, tariff: Tariff, paid_by: str
) -> None:
    paying(suburb, tariff)

    found = await preview(suburb, power_mw="0.02")
    printed = StringIO()
    show_preview(Console(file=printed, width=120), found)

    assert (found["cost_usd"], found["cost_p50_usd"], found["paid_by"]) == (None, None, paid_by)
    assert [each["cost_usd"] for each in found["firm_by_county"]] == [None]
    assert re.search(rf"cost at most\W+paid by the {paid_by}", printed.getvalue())
    assert "None" not in printed.getvalue()


async def test_a_bonus_is_part_of_the_most_that_an_event_can_cost(suburb: Suburb) -> None:
    paying(suburb, Tariff(bonus=Decimal("1.30")), rate="2.00")

    assert (await preview(suburb, power_mw="0.02", minutes=90))["cost_usd"] == "78.00"


async def test_confidence_that_cannot_be_meant_is_refused(suburb: Suburb) -> None:
    with pytest.raises(OperationRefused, match="not 50 to 99 %"):
        await preview(suburb, confidence_pct=100)


async def test_preview_is_asked_over_the_api(suburb: Suburb) -> None:
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token"}
    body = {"program_id": PROGRAM, "power_mw": "0.02", "confidence_pct": 80}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        answer = await asking.post("/api/v1/previews", json=body)

    assert answer.status_code == 200
    assert answer.json()["selection"]["confidence_pct"] == 80


async def test_a_place_that_names_nobody_is_refused_and_not_shown_as_a_plan_of_nothing(
    suburb: Suburb,
) -> None:
    with pytest.raises(OperationRefused, match="called Almeda") as refused:
        await preview(suburb, power_mw="0.02", targets=("Alameda", "Almeda"))
    with pytest.raises(OperationRefused, match="called Almeda"):
        await rehearse_event(suburb.desk, program_id=PROGRAM, power_mw="0.02", targets=["Almeda"])

    assert refused.value.field == "targets"
