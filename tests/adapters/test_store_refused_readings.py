"""What every store promises about stretches that a person refused, and about why a reading is BAD."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.adapters.store_world import NOON, a_message, a_reading, a_request, after
from vpp.domain.delivery import QUALITY_CODES, MeterMessage, MeterReading, Quality, ReadingFault
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import WattHours, column
from vpp.ports import Store

ALWAYS = Interval(after(-10_000), after(10_000))
LATER = NOON + timedelta(hours=6)
BAD = QUALITY_CODES.index(Quality.BAD)


@pytest.fixture(autouse=True)
async def _homes(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    await store.append([a_message(site_id, *range(1, 13)) for site_id in ("s-ada", "s-ben")], at=NOON)


def at(index: int) -> datetime:
    return reading(index).at


def reading(index: int) -> MeterReading:
    return a_reading("s-ada", index, 100 * index)


async def qualities(store: Store, *, before: datetime | None = None) -> list[list[int]]:
    """Return, for both homes, which of their readings are BAD, by index."""
    found = await store.readings(["s-ada", "s-ben"], [ALWAYS], before=before)
    return [
        [place for place, code in enumerate(rows.quality.tolist(), start=1) if code == BAD]
        for rows in found.by_site(2)
    ]


async def test_what_a_gateway_read_in_a_refused_stretch_is_bad_from_then_on(store: Store) -> None:
    stretch = Interval(at(4), at(6))

    for _ in range(2):
        await store.refuse_stretches([("s-ada", stretch)], at=LATER)

    assert await qualities(store) == [[4, 5, 6], []]
    assert await qualities(store, before=LATER) == [[], []]
    faults = await store.reading_faults("s-ada", ALWAYS)
    assert faults == {at(each): ReadingFault.POWER_DIFFERS for each in (4, 5, 6)}
    assert await store.reading_faults("s-ada", ALWAYS, before=LATER) == {}
    assert await store.reading_faults("s-ben", ALWAYS) == {}
    assert await store.reading_faults("s-ada", Interval(at(6), at(9))) == {at(6): ReadingFault.POWER_DIFFERS}


async def test_a_reading_that_comes_into_a_refused_stretch_later_is_bad_too(store: Store) -> None:
    await store.refuse_stretches([("s-ada", Interval(at(12), at(20)))], at=LATER)

    await store.append([a_message("s-ada", 13, 14)], at=LATER + timedelta(minutes=1))

    assert await qualities(store) == [[12, 13, 14], []]


async def test_the_hours_of_a_refused_stretch_are_computed_again(store: Store) -> None:
    start_s = to_epoch(at(1)) // 3_600 * 3_600
    hours = column(range(start_s - 3_600, start_s + 4 * 3_600, 3_600))
    await store.refuse_stretches([("s-ada", Interval(at(4), at(6)))], at=LATER)

    found = await store.hour_energies(["s-ada", "s-ben"], hours, MeterOfRecord.DEVICE)

    refused = from_epoch(to_epoch(at(5)) // 3_600 * 3_600)
    place = hours.tolist().index(to_epoch(refused))
    assert found.quality[0, place] == BAD
    assert found.quality[1, place] != BAD
    changed = await store.sites_changed_since(["s-ada", "s-ben"], hours, LATER)
    assert changed.tolist() == [0]


async def test_every_fault_of_a_reading_is_told_with_its_instant(store: Store) -> None:
    jump = replace(reading(20), quality=Quality.BAD, reason=ReadingFault.JUMP.value)
    other = replace(reading(3), discharged_wh=WattHours(1))
    late = replace(reading(21), reason=ReadingFault.LATE.value)
    imported = replace(reading(5), boot_id=IMPORT_BOOT, index=to_epoch(at(5)), at=at(5))
    for each in (jump, other, late, imported):
        await store.append([MeterMessage("s-ada", each.boot_id, 1, (each,))], at=LATER)

    faults = await store.reading_faults("s-ada", ALWAYS)

    assert faults == {at(3): ReadingFault.TWO_VALUES, at(20): ReadingFault.JUMP}
