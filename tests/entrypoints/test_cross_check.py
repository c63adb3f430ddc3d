"""The counters of an evening beside the power samples that were stored with its ticks."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import WattHours
from vpp.entrypoints.operations import money
from vpp.entrypoints.operations.cross_check import check_meters, quarantine_meters
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.starting import start_event


async def an_hour(tmp_path: Path) -> Suburb:
    suburb = await a_suburb(tmp_path)
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(1_800)
    return suburb


async def store_counters(suburb: Suburb, site_id: str, watts: int) -> None:
    """Store five-minute readings of a battery that gave so much all the time."""
    now = suburb.clock.now()
    readings = tuple(
        MeterReading(
            site_id=site_id, boot_id="b-1", index=place, at=now - timedelta(seconds=1_800 - 300 * place),
            discharged_wh=WattHours(1_000 + watts * 300 * place // 3_600), charged_wh=WattHours(0),
            soc_permille=None, quality=Quality.OK,
        )
        for place in range(7)
    )  # fmt: skip
    await suburb.desk.store.append([MeterMessage(site_id, "b-1", 0, readings)], at=now)


async def power_of(suburb: Suburb, site_no: int) -> int:
    """Return what a home's battery gave when all had risen, in watts."""
    now = suburb.clock.now()
    bases = await suburb.desk.store.bases(since=now - timedelta(seconds=1_800))
    rows = [
        (basis.samples, row) for basis in bases for row in (basis.samples.site_no == site_no).nonzero()[0]
    ]
    powers = {
        int(samples.battery_w[row])
        for samples, row in rows
        if samples.sampled_at_s[row] > to_epoch(now) - 1_500
    }
    return max(powers)


async def test_home_whose_counters_and_samples_differ_is_named(tmp_path: Path) -> None:
    suburb = await an_hour(tmp_path)
    honest, doubtful, *_ = (int(each) for each in suburb.plan("ev-1").setpoint_w.argsort()[::-1])
    power_w = {site_no: await power_of(suburb, site_no) for site_no in (honest, doubtful)}
    doubtful_id = suburb.controller.roster.site_id(doubtful)

    await store_counters(suburb, suburb.controller.roster.site_id(honest), power_w[honest])
    await store_counters(suburb, doubtful_id, power_w[doubtful] + 1_000)
    found: Any = await check_meters(suburb.desk, event_id="ev-1")

    assert (found["agree"], found["differ"]) == (1, 1)
    assert [each["site_id"] for each in found["sites"]] == [doubtful_id]
    assert float(found["sites"][0]["difference_wh"]) > 300
    assert found["unknown"] > 0


async def test_an_hour_that_power_samples_refute_is_bad_pays_nothing_and_says_why(tmp_path: Path) -> None:
    suburb = await an_hour(tmp_path)
    honest, doubtful, *_ = (int(each) for each in suburb.plan("ev-1").setpoint_w.argsort()[::-1])
    power_w = {site_no: await power_of(suburb, site_no) for site_no in (honest, doubtful)}
    honest_id, doubtful_id = (suburb.controller.roster.site_id(each) for each in (honest, doubtful))
    await store_counters(suburb, honest_id, power_w[honest])
    await store_counters(suburb, doubtful_id, power_w[doubtful] + 1_000)

    found: Any = await quarantine_meters(suburb.desk, event_id="ev-1", actor="staff:ana")
    again: Any = await quarantine_meters(suburb.desk, event_id="ev-1", actor="staff:ana")

    assert {each["site_id"] for each in found["refused"]} == {doubtful_id}
    assert again["refused"] == []
    await suburb.pass_time(3_600)
    await money.settle_event(suburb.desk, event_id="ev-1")
    (noted,) = await suburb.desk.store.trail(subject=f"site:{doubtful_id}", limit=9)
    assert (noted.actor, noted.action) == ("staff:ana", "quarantine meters")
    assert await suburb.desk.store.trail(subject=f"site:{honest_id}", limit=9) == []
    lines = {line.site_id: line for line in (await suburb.desk.store.settlements())[0].lines}
    assert Quality.BAD not in {hour.quality for hour in lines[honest_id].hours}
    owner_id = suburb.controller.roster.enrollments[doubtful].owner_id
    statement: Any = await money.show_statement(suburb.desk, owner_id=owner_id)
    (line,) = (each for each in statement["events"] if each["site_id"] == doubtful_id)
    told = [(hour["quality"], hour["reason"], hour["metered_wh"]) for hour in line["hours"]]
    assert ("BAD", None) in [(quality, metered) for quality, _, metered in told]
    assert any(reason and reason.endswith("is BAD (power differs)") for _, reason, _ in told)
    assert line["amount_usd"] == "0.00"


async def test_counters_that_power_samples_refute_are_paid_until_somebody_of_the_alarmed_staff_decides(
    tmp_path: Path,
) -> None:
    suburb = await an_hour(tmp_path)
    honest, doubtful, *_ = (int(each) for each in suburb.plan("ev-1").setpoint_w.argsort()[::-1])
    honest_id, doubtful_id = (suburb.controller.roster.site_id(each) for each in (honest, doubtful))
    await store_counters(suburb, honest_id, await power_of(suburb, honest))
    await store_counters(suburb, doubtful_id, await power_of(suburb, doubtful) + 1_000)
    await suburb.pass_time(3_600)

    await suburb.controller.settle(await suburb.desk.history("ev-1"))
    await suburb.controller._notify(suburb.clock.now())

    lines = {line.site_id: line for line in (await suburb.desk.store.settlements())[0].lines}
    assert all(Quality.BAD not in {hour.quality for hour in line.hours} for line in lines.values())
    (alarm,) = (each for each in await suburb.desk.store.alarms() if each.kind == "counters_doubted")
    assert (alarm.subject, alarm.facts["count"]) == ("ev-1", "1")


async def test_a_battery_that_is_not_what_is_paid_refutes_nothing(tmp_path: Path) -> None:
    suburb = await an_hour(tmp_path)
    suburb.desk.programs.clear()  # type: ignore[attr-defined]  # a dictionary here

    with pytest.raises(OperationRefused, match="not paid by the battery's counters"):
        await quarantine_meters(suburb.desk, event_id="ev-1", actor="staff:ana")
