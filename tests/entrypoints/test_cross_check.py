"""The counters of an evening beside the power samples that were stored with its ticks."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import WattHours
from vpp.entrypoints.operations.cross_check import check_meters
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
