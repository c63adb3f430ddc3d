"""What every store promises about energy by the clock hour: always what the readings themselves give."""

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from tests.adapters.store_world import BOOT, NOON, a_message, a_reading, a_request, after
from vpp.domain.delivery import QUALITY_CODES, MeterMessage, MeterReading, Quality
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.metered_hours import HourEnergies, hour_energies
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import WattHours, column
from vpp.ports import Store

HOMES = ("s-ada", "s-ben")
EVERY_HOUR = column(range(to_epoch(NOON) - 4 * 3600, to_epoch(NOON) + 40 * 3600, 3600))
ALWAYS = Interval(NOON - timedelta(days=2), NOON + timedelta(days=4))


@pytest.fixture(autouse=True)
async def _homes(store: Store) -> None:
    await store.enroll([a_request(site_id) for site_id in HOMES], at=NOON)


async def first_hours(store: Store, count: int = 3) -> list[tuple[int, Quality]]:
    """Return (net watt-hours, quality) of a home's hours from noon on."""
    noon = column(to_epoch(NOON) + 3600 * hour for hour in range(count))
    found = await store.hour_energies(["s-ada"], noon, MeterOfRecord.DEVICE)
    qualities = [QUALITY_CODES[code] for code in found.quality[0].tolist()]
    return list(zip(found.energy_wh[0].tolist(), qualities, strict=True))


async def test_an_hour_is_known_with_the_first_reading_after_it(store: Store) -> None:
    await store.append([a_message("s-ada", *range(6))], at=NOON)
    assert await first_hours(store, 1) == [(0, Quality.MISSING)]

    await store.append([a_message("s-ada", 12)], at=NOON)

    assert await first_hours(store, 1) == [(1_200, Quality.OK)]


async def test_a_late_reading_makes_an_estimate_exact(store: Store) -> None:
    await store.append([a_message("s-ada", *range(12), 15)], at=NOON)
    assert await first_hours(store, 1) == [(1_200, Quality.ESTIMATED)]
    late = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 12, 1_150),))

    await store.append([late], at=NOON)

    assert await first_hours(store, 1) == [(1_150, Quality.OK)]


async def test_a_second_value_spoils_the_hours_it_reaches_and_no_other(store: Store) -> None:
    await store.append([a_message("s-ada", *range(40))], at=NOON)
    other = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 18, 1),))

    await store.append([other], at=NOON)

    assert await first_hours(store) == [(1_200, Quality.OK), (0, Quality.BAD), (1_200, Quality.OK)]


async def test_a_grid_meter_is_kept_beside_the_battery(store: Store) -> None:
    rows = a_message("s-ada", *range(13)).readings
    shared = tuple(
        replace(each, imported_wh=WattHours(each.discharged_wh * 3), exported_wh=WattHours(0))
        for each in rows
    )
    await store.append([MeterMessage("s-ada", BOOT, 0, shared), a_message("s-ben", *range(13))], at=NOON)

    found = await store.hour_energies(HOMES, column([to_epoch(NOON)]), MeterOfRecord.SITE)

    assert found.energy_wh.tolist() == [[-3_600], [0]]
    assert [QUALITY_CODES[code] for code in found.quality[:, 0]] == [Quality.OK, Quality.MISSING]


@pytest.mark.parametrize("gateway_first", [True, False])
async def test_an_imported_counter_between_a_gateways_own_is_no_energy(
    store: Store, *, gateway_first: bool
) -> None:
    gateway = a_message("s-ada", *range(13))
    at = after(32)
    other = a_reading("s-ada", to_epoch(at), 640 + 6_513, at=at, boot_id=IMPORT_BOOT)
    between = MeterMessage("s-ada", IMPORT_BOOT, to_epoch(at), (other,))

    for message in (gateway, between) if gateway_first else (between, gateway):
        await store.append([message], at=NOON)

    assert await first_hours(store, 1) == [(1_200, Quality.OK)]


def stories(seed: int, *, one_source: bool = False) -> list[list[MeterMessage]]:
    """Return batches as bad as the field gives them.

    Gaps, resets, refused readings, two values under one key, copies, and everything out of order where
    the seed says so; without ``one_source`` new boots and imported readings beside them.
    """
    drawn = random.Random(seed)
    calm = 5 * (seed % 2) + 1  # every other seed has fewer faults, so that good hours stand among bad ones
    messages = []
    for site_id in HOMES:
        counter, boot, index, minute = 10_000, 1, 1, 0.0
        while minute < 30 * 60:
            readings = []
            for _ in range(drawn.choice([1, 1, 6, 12])):
                minute += drawn.choice([5] * (30 * calm) + [1, 12, 40, 60, 61, 200])
                counter = drawn.choice(
                    [counter + drawn.randrange(500)] * (40 * calm) + [drawn.randrange(9_000)]
                )
                quality = drawn.choice([Quality.OK] * (30 * calm) + [Quality.ESTIMATED, Quality.BAD])
                reading = a_reading(
                    site_id, index, counter, at=after(minute), boot_id=f"{boot:032x}", quality=quality
                )
                readings.append(reading)
                if drawn.random() < 0.02 / calm:
                    readings.append(replace(reading, discharged_wh=WattHours(counter + 1)))
                if drawn.random() < 0.01 / calm:
                    later = reading.at + timedelta(minutes=70)
                    readings.append(replace(reading, at=later, charged_wh=WattHours(7)))
                index += 1
            messages.append(MeterMessage(site_id, f"{boot:032x}", 1, tuple(readings)))
            if drawn.random() < 0.05 and not one_source:
                messages.append(an_imported(readings[0], counter + drawn.randrange(300)))
            if drawn.random() < 0.1 and not one_source:
                boot, index = boot + 1, 1
                minute -= drawn.choice([0, 0, 5])  # the newer boot may tell of the same instant
    if seed % 3:
        for _ in range(len(messages) if seed % 3 == 1 else 12):
            place = drawn.randrange(len(messages) - 3)
            messages.insert(place + drawn.randrange(4), messages.pop(place))
        messages += drawn.sample(messages, 5)
    return [messages[place : place + 4] for place in range(0, len(messages), 4)]


def an_imported(beside: MeterReading, discharged_wh: int) -> MeterMessage:
    """Return an imported reading of another counter, two hours before a gateway's."""
    at = beside.at - timedelta(minutes=118)
    reading = a_reading(beside.site_id, to_epoch(at), discharged_wh, at=at, boot_id=IMPORT_BOOT)
    return MeterMessage(beside.site_id, IMPORT_BOOT, to_epoch(at), (reading,))


@pytest.mark.parametrize("seed", range(6))
async def test_hours_are_what_all_readings_give_however_these_came(store: Store, seed: int) -> None:
    batches = stories(seed)
    for number, batch in enumerate(batches):
        await store.append(batch, at=NOON)
        if number % 9 == 0 or number == len(batches) - 1:
            found = await _require_what_readings_give(store)
    assert len(np.unique(found.quality)) >= 3


async def _require_what_readings_give(store: Store) -> HourEnergies:
    readings = await store.readings(HOMES, [ALWAYS])
    expected = hour_energies(readings, len(HOMES), EVERY_HOUR, MeterOfRecord.DEVICE)
    found = await store.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
    assert found.quality.tolist() == expected.quality.tolist()
    assert found.energy_wh.tolist() == expected.energy_wh.tolist()
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_hours_of_sites_that_nothing_reached_since_are_what_was_known_then(
    store: Store, seed: int
) -> None:
    told = stories(seed)
    half = len(told) // 2
    for place, batch in enumerate(told):
        of_both = [each for each in batch if place < half or each.site_id == "s-ada"]
        await store.append(of_both, at=after(3600 * 24 if place >= half else 0))
    later = after(3600)

    changed = (await store.sites_changed_since(HOMES, EVERY_HOUR, later)).tolist()

    then = await store.readings(HOMES, [ALWAYS], before=later)
    known = hour_energies(then, len(HOMES), EVERY_HOUR, MeterOfRecord.DEVICE)
    found = await store.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
    assert 1 not in changed
    for place in range(len(HOMES)):
        if place not in changed:
            assert found.energy_wh[place].tolist() == known.energy_wh[place].tolist()
            assert found.quality[place].tolist() == known.quality[place].tolist()


async def test_a_reading_far_from_the_hours_asked_changes_nothing_in_them(store: Store) -> None:
    await store.append([a_message("s-ada", *range(13)), a_message("s-ben", *range(13))], at=NOON)
    await store.append([a_message("s-ada", *range(60, 70))], at=after(7200))
    await store.append([a_message("s-ben", *range(13, 15))], at=after(7200))

    changed = await store.sites_changed_since(HOMES, column([to_epoch(NOON)]), after(3600))
    none = await store.sites_changed_since(HOMES, column([to_epoch(NOON)]), after(9000))

    assert 0 not in changed.tolist()
    assert none.tolist() == []
