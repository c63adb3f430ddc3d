"""A program is told what the batteries held as each hour of an event began."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from tests.entrypoints.pages.world import PROGRAM, a_suburb
from vpp.domain.delivery import Quality
from vpp.domain.interval import Interval
from vpp.domain.program import MeterOfRecord
from vpp.domain.program_report import HourTotal, StorageTotal
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.operations.starting import start_event
from vpp.entrypoints.operations.storage import storage_by_hour
from vpp.wire.program_report import openadr_report

HOUR = Interval(datetime(2026, 9, 10, 1, tzinfo=UTC), datetime(2026, 9, 10, 2, tzinfo=UTC))


async def test_what_batteries_held_comes_from_the_samples_of_the_first_tick_on(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path)
    began = suburb.clock.now()
    suburb.report(charge_permille=800)
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    suburb.charge_permille = 800
    await suburb.pass_time(600)
    suburb.charge_permille = 500
    await suburb.pass_time(600)
    fleet = suburb.live.controller.fleet
    two = [suburb.controller.roster.site_id(place) for place in (0, 1)]
    hours = [
        Interval(began - timedelta(hours=1), began + timedelta(seconds=60)),
        Interval(began + timedelta(minutes=15), began + timedelta(minutes=75)),
        Interval(began - timedelta(hours=2), began - timedelta(hours=1)),
    ]

    first, later = await storage_by_hour(suburb.desk, "ev-1", hours[:2], two)
    (before,) = await storage_by_hour(suburb.desk, "ev-1", hours[2:], two)

    full_wh = int(fleet.energy_full_wh[:2].sum())
    assert first is not None
    assert later is not None
    assert (first.usable_wh, first.stored_wh) == (full_wh, full_wh * 800 // 1000)
    assert later.stored_wh == full_wh * 500 // 1000
    assert first.max_discharge_w == int(fleet.discharge_limit_w[:2].sum())
    assert before is None
    assert await storage_by_hour(suburb.desk, "ev-1", hours[:1], ["nobody"]) == (None,)


def test_storage_is_told_beside_what_was_delivered_and_only_where_it_is_known() -> None:
    total = HourTotal(
        HOUR, 2, 2, 9_000, Fraction(2_000), Fraction(7_000), Fraction(7_000), MicroDollars(14_000_000),
        Quality.OK,
    )  # fmt: skip
    held = StorageTotal(usable_wh=27_000, stored_wh=18_000, max_discharge_w=10_800)

    def report(storage: StorageTotal | None) -> tuple[list[str], list[dict[str, object]]]:
        found = openadr_report(
            PROGRAM, "ev-1", [total], MeterOfRecord.DEVICE, storage=[storage], created_at=HOUR.ends_at
        )
        described = [each["payloadType"] for each in found["payloadDescriptors"]]  # type: ignore[attr-defined]  # as JSON
        return described, found["resources"][0]["intervals"][0]["payloads"]  # type: ignore[index]  # as JSON

    described, payloads = report(held)
    assert described[3:] == ["STORAGE_USABLE_CAPACITY", "STORAGE_CHARGE_LEVEL", "STORAGE_MAX_DISCHARGE_POWER"]
    assert payloads[3:] == [
        {"type": "STORAGE_USABLE_CAPACITY", "values": [27.0]},
        {"type": "STORAGE_CHARGE_LEVEL", "values": [0.666]},
        {"type": "STORAGE_MAX_DISCHARGE_POWER", "values": [10.8]},
    ]
    assert [len(each) for each in report(None)] == [3, 3]
