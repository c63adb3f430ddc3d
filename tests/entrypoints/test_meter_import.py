"""What a meter file brings in is judged as what gateways send is, and can never pay more."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.domain.money_world import a_meter, a_program, an_evening_history
from tests.entrypoints.test_evidence_export import a_desk, a_story
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, ReadingColumns
from vpp.domain.interval import Interval
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import WattHours
from vpp.entrypoints.operations import metering
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.evidence import export_evidence
from vpp.ports import StoreUnavailable
from vpp.wire.meter_file import write_meter_csv

HOUR = timedelta(hours=1)
DISCHARGED_WH, CHARGED_WH = 12_319_540, 13_853_641
HEADER = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"


def a_line(at: datetime, discharged_wh: int, site_id: str = "home") -> str:
    return f"{site_id},{at:%Y-%m-%dT%H:%M:%SZ},{discharged_wh},{CHARGED_WH},,,OK"


async def imported(story: MoneyStory, folder: Path, *lines: str) -> dict[str, Any]:
    content = "\n".join((HEADER, *lines, "")).encode()
    return await metering.import_readings(a_desk(story, folder), content=content, file_name="meter.csv")


class Remembering(MemoryStore):
    """A store that tells what was stored last, with its reasons."""

    newest: MeterMessage
    asked = 0

    async def readings(
        self, site_ids: Sequence[str], intervals: Sequence[Interval], *, before: datetime | None = None
    ) -> ReadingColumns:
        """Return stored readings, and count the question."""
        self.asked += 1
        return await super().readings(site_ids, intervals, before=before)

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        """Store readings."""
        self.newest = messages[-1]
        return await super().append(messages, at=at)


async def a_home_with_a_history(folder: Path) -> MoneyStory:
    """Return a dispatched home whose imported readings end the day before, at a lifetime of 30 kWh more."""
    story = replace(a_story(), store=Remembering())
    await story.home("home")
    history = an_evening_history([4_000] * 3, TEN_DAYS)
    rows = a_meter({at: net for at, net in history.items() if at < STARTS_AT})
    await imported(story, folder, *(a_line(at, discharged) for at, discharged, _, _ in rows))
    await story.event()
    await story.dispatched(0)
    return story


async def paid(story: MoneyStory) -> int:
    settlement = await story.settled_and_paid()
    return sum(line.amount for line in settlement.lines)


async def test_an_imported_evening_that_no_battery_can_give_is_kept_as_bad_and_pays_nothing(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    impossible = [
        a_line(STARTS_AT + hours * HOUR, DISCHARGED_WH + 30_000 + 300_000 * hours) for hours in range(4)
    ]

    told = await imported(story, tmp_path, *impossible)

    assert told == {
        "sites": 1,
        "readings": 4,
        "stored": 4,
        "stored_before": 0,
        "refused": [{"site_id": "home", "readings": 3, "reasons": ["jump"]}],
        "quarantined": [
            {"line": 3 + hours, "site_id": "home", "at": f"2026-09-10T0{2 + hours}:00:00Z", "reason": "jump"}
            for hours in range(3)
        ],
        "left_out": [],
    }
    assert await imported(story, tmp_path, *impossible) == told | {"stored": 0, "stored_before": 4}
    assert await paid(story) == 0


async def test_lines_that_contradict_each_other_or_what_is_stored_are_named(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    first, second = STARTS_AT, STARTS_AT + HOUR
    lines = [a_line(first, DISCHARGED_WH + 30_000), a_line(second, DISCHARGED_WH + 31_000)]
    await imported(story, tmp_path, *lines)

    told = await imported(
        story,
        tmp_path,
        a_line(first, DISCHARGED_WH + 30_000),
        a_line(second, DISCHARGED_WH + 31_001),
        a_line(second + HOUR, DISCHARGED_WH + 32_000),
        a_line(second + HOUR, DISCHARGED_WH + 32_001),
    )

    assert [(each["line"], each["reason"]) for each in told["quarantined"]] == [
        (3, "two_values"),
        (4, "two_values"),
        (5, "two_values"),
    ]
    assert (told["stored"], told["stored_before"]) == (3, 1)


class Failing(MemoryStore):
    """A store that cannot be reached from the third commit of readings on."""

    appended = 0

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        """Store readings, twice."""
        self.appended += 1
        if self.appended > 2:
            raise StoreUnavailable("the database went away")
        return await super().append(messages, at=at)


async def test_an_import_that_loses_the_database_says_what_is_stored_and_is_finished_by_importing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metering, "READINGS_PER_COMMIT", 2)
    story = replace(a_story(), store=Failing())
    await story.home("home")
    assert isinstance(story.store, Failing)
    story.store.appended = 0
    lines = [a_line(STARTS_AT + each * HOUR / 12, DISCHARGED_WH + 10 * each) for each in range(7)]

    with pytest.raises(StoreUnavailable, match=r"4 of 7 readings of meter.csv are stored, and importing it"):
        await imported(story, tmp_path, *lines)
    story.store.appended = -9
    told = await imported(story, tmp_path, *lines)

    assert (told["stored"], told["stored_before"], told["quarantined"]) == (3, 4, [])
    ever = [Interval(STARTS_AT - timedelta(days=60), ENDS_AT + timedelta(days=1))]
    assert len((await story.store.readings(["home"], ever)).at_s) == 7


async def test_an_imported_evening_within_rated_power_is_paid(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    evening = [a_line(STARTS_AT + hours * HOUR, DISCHARGED_WH + 30_000 + 4_000 * hours) for hours in range(4)]

    told = await imported(story, tmp_path, *evening)

    assert told["refused"] == []
    assert await paid(story) == 18_000_000


@pytest.mark.parametrize(("seconds", "reason"), [(0, "late"), (-1, None)])
async def test_a_reading_is_late_from_the_second_its_event_closes(
    tmp_path: Path, seconds: int, reason: str | None
):
    story = await a_home_with_a_history(tmp_path)
    evening = [a_line(STARTS_AT + hours * HOUR, DISCHARGED_WH + 30_000 + 4_000 * hours) for hours in range(4)]
    assert isinstance(story.clock, SteppedClock)
    assert isinstance(story.store, Remembering)
    story.clock.step_to(ENDS_AT + timedelta(days=8, seconds=seconds))

    await imported(story, tmp_path, *evening)

    assert [each.reason for each in story.store.newest.readings] == [reason] * 4
    assert await paid(story) == (0 if reason else 18_000_000)


async def test_what_is_imported_after_an_event_closed_is_late_and_waits_for_a_correction(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    evening = [a_line(STARTS_AT + hours * HOUR, DISCHARGED_WH + 30_000 + 4_000 * hours) for hours in range(4)]
    assert isinstance(story.clock, SteppedClock)
    story.clock.step_to(STARTS_AT + timedelta(days=9, hours=4))
    assert isinstance(story.store, Remembering)

    await imported(story, tmp_path, *evening)

    assert [each.reason for each in story.store.newest.readings] == ["late"] * 4
    assert await paid(story) == 0
    corrected = await story.settled_and_paid(correcting=True)
    assert sum(line.amount for line in corrected.lines) == 18_000_000


async def test_an_imported_reading_is_judged_against_the_stored_one_before_it(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)

    # 22 hours after the last stored reading 5 kW are 110,000 Wh, and 115,501 Wh with the margin.
    told = await imported(story, tmp_path, a_line(STARTS_AT + HOUR, DISCHARGED_WH + 30_000 + 115_502))

    assert told["refused"] == [{"site_id": "home", "readings": 1, "reasons": ["jump"]}]


async def test_homes_of_a_file_are_judged_by_their_own_stored_readings_and_asked_for_at_once(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    await story.home("new")  # nothing is known of it, and nothing it says can be a jump
    assert isinstance(story.store, Remembering)
    story.store.asked = 0
    lines = [a_line(STARTS_AT + HOUR, DISCHARGED_WH + 30_000 + 115_502, name) for name in ("home", "new")]

    told = await imported(story, tmp_path, *lines)

    assert told["refused"] == [{"site_id": "home", "readings": 1, "reasons": ["jump"]}]
    assert story.store.asked == 1


async def test_the_meter_file_of_a_bundle_can_be_imported(tmp_path: Path):
    story = a_story()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    at, discharged, charged, quality = rows[-10]
    await story.home("home")
    await story.metered("home", rows)
    other = MeterReading("home", f"{story.boots:032x}", len(rows) - 9, at, WattHours(discharged + 1),
                         WattHours(charged), None, quality)  # fmt: skip
    await story.store.append([MeterMessage("home", other.boot_id, 1, (other,))], at=ENDS_AT)
    await story.event()
    await story.dispatched(0)
    await story.settled()
    files = await export_evidence(a_desk(story, tmp_path), event_id="ev-1")
    elsewhere = a_story()
    await elsewhere.home("home")

    await metering.import_readings(
        a_desk(elsewhere, tmp_path), content=files["meter.csv"], file_name="meter.csv"
    )

    ever = [Interval(STARTS_AT - timedelta(days=60), ENDS_AT + timedelta(days=1))]
    original, copy = [await each.store.readings(["home"], ever) for each in (story, elsewhere)]
    assert write_meter_csv(["home"], copy) == write_meter_csv(["home"], original) == files["meter.csv"]


async def test_a_home_that_is_metered_at_the_site_may_leave_its_battery_out(tmp_path: Path):
    lines = ("home,2026-09-01T00:00:00Z,,,7,8,OK", "home,2026-09-01T00:05:00Z,,,9,8,OK")
    at_site = a_story(a_program(meter=MeterOfRecord.SITE))
    at_device = a_story()
    for story in (at_site, at_device):
        await story.home("home")

    assert (await imported(at_site, tmp_path, *lines))["readings"] == 2
    with pytest.raises(OperationRefused, match="2 faults"):
        await imported(at_device, tmp_path, *lines)


async def test_a_gateways_own_readings_are_not_mixed_with_imported_ones(tmp_path: Path):
    story = a_story()
    await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.event()
    await story.dispatched(0)
    within = STARTS_AT + timedelta(minutes=32, seconds=30)

    # The counter of the packs stands 6,513 Wh above the gateway's.
    told = await imported(story, tmp_path, a_line(within, DISCHARGED_WH + 30_000 + 2_165 + 6_513))

    (left_out,) = told["left_out"]
    assert (left_out["site_id"], left_out["readings"], told["refused"]) == ("home", 1, [])
    assert await paid(story) == 18_000_000


async def test_an_import_that_a_gateways_buffer_overlaps_is_passed_over(tmp_path: Path):
    story = await a_home_with_a_history(tmp_path)
    await imported(story, tmp_path, a_line(STARTS_AT + HOUR / 2, DISCHARGED_WH + 30_000 + 2_000 + 300))
    own = an_evening_history([4_000] * 3, TEN_DAYS)

    await story.metered("home", a_meter(own))

    assert await paid(story) == 18_000_000
