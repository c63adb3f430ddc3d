"""What every store promises about meter evidence."""

import random
from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations

import pytest

from tests.adapters.store_world import BOOT, NOON, a_message, a_reading, a_request, after
from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    MeterMessage,
    MeterReceipt,
    Quality,
    ReadingColumns,
    ReadingFault,
)
from vpp.domain.interval import Interval
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.quantities import WattHours
from vpp.ports import Store

ALWAYS = Interval(after(-10_000), after(10_000))
OTHER_BOOT = "0a" * 16


@pytest.fixture(autouse=True)
async def _homes(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)


def seen(columns: ReadingColumns) -> list[tuple[int, int, Quality]]:
    """Return (site, discharged watt-hours, quality) of each reading."""
    qualities = [QUALITY_CODES[code] for code in columns.quality.tolist()]
    return list(zip(columns.site.tolist(), columns.discharged_wh.tolist(), qualities, strict=True))


async def test_receipt_covers_readings_without_a_hole(store: Store) -> None:
    receipts = await store.append([a_message("s-ada", 1, 2, 3), a_message("s-ben", 1)], at=NOON)

    assert receipts == [MeterReceipt("s-ada", BOOT, 3), MeterReceipt("s-ben", BOOT, 1)]


async def test_receipt_waits_below_a_hole_and_jumps_when_it_is_filled(store: Store) -> None:
    steps = [(1, 2), (4, 5), (7,), (3,), (6,)]

    through = [(await store.append([a_message("s-ada", *each)], at=NOON))[0].stored_through for each in steps]

    assert through == [2, 2, 2, 5, 7]


async def test_receipt_counts_from_the_oldest_reading_the_gateway_still_holds(store: Store) -> None:
    await store.append([a_message("s-ada", 1, 2)], at=NOON)
    await store.append([a_message("s-ada", 8, 9)], at=NOON)

    (receipt,) = await store.append([a_message("s-ada", 10, oldest=8)], at=NOON)

    assert receipt.stored_through == 10


async def test_receipt_lies_below_an_oldest_reading_that_has_not_come(store: Store) -> None:
    (receipt,) = await store.append([a_message("s-ada", 9, oldest=8)], at=NOON)

    assert receipt.stored_through == 7


async def test_refused_reading_counts_as_received(store: Store) -> None:
    refused = a_reading("s-ada", 2, 50, quality=Quality.BAD)
    message = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 1, 100), refused))

    assert await store.append([message], at=NOON) == [MeterReceipt("s-ada", BOOT, 2)]

    assert seen(await store.readings(["s-ada"], [ALWAYS])) == [(0, 100, Quality.OK), (0, 50, Quality.BAD)]


async def test_boots_are_counted_apart_and_answered_once_each(store: Store) -> None:
    receipts = await store.append(
        [a_message("s-ada", 2), a_message("s-ada", 1, boot_id=OTHER_BOOT), a_message("s-ada", 1)], at=NOON
    )

    assert receipts == [MeterReceipt("s-ada", BOOT, 2), MeterReceipt("s-ada", OTHER_BOOT, 1)]


async def test_copies_change_nothing(store: Store) -> None:
    message = a_message("s-ada", 1, 2)

    for _ in range(2):
        assert await store.append([message, message], at=NOON) == [MeterReceipt("s-ada", BOOT, 2)]

    assert seen(await store.readings(["s-ada"], [ALWAYS])) == [(0, 100, Quality.OK), (0, 200, Quality.OK)]


async def test_another_value_under_a_key_keeps_both_as_bad(store: Store) -> None:
    await store.append([a_message("s-ada", 1, 2)], at=NOON)
    other = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 2, 777),))

    for _ in range(2):
        assert await store.append([other], at=after(1)) == [MeterReceipt("s-ada", BOOT, 2)]

    assert seen(await store.readings(["s-ada"], [ALWAYS])) == [
        (0, 100, Quality.OK),
        (0, 200, Quality.BAD),
        (0, 777, Quality.BAD),
    ]
    assert await store.newest_reading_at(["s-ada"]) == {"s-ada": after(5)}


async def test_two_values_in_one_batch_are_both_bad(store: Store) -> None:
    both = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 1, 100), a_reading("s-ada", 1, 101)))

    await store.append([both], at=NOON)

    assert seen(await store.readings(["s-ada"], [ALWAYS])) == [(0, 100, Quality.BAD), (0, 101, Quality.BAD)]


async def test_order_of_arrival_does_not_matter(store: Store) -> None:
    values = ((1, 100), (1, 90), (2, 200))
    for number, order in enumerate(permutations(values)):
        site_id = f"s-{number}"
        await store.enroll([a_request(site_id)], at=NOON)
        for index, discharged_wh in order:
            reading = a_reading(site_id, index, discharged_wh)
            (receipt,) = await store.append([MeterMessage(site_id, BOOT, 1, (reading,))], at=NOON)

        assert receipt.stored_through == 2
        assert seen(await store.readings([site_id], [ALWAYS])) == [
            (0, 90, Quality.BAD), (0, 100, Quality.BAD), (0, 200, Quality.OK),
        ]  # fmt: skip


async def test_readings_come_by_the_askers_sites_and_by_time(store: Store) -> None:
    await store.append([a_message("s-ada", 3, 1), a_message("s-ben", 2)], at=NOON)

    found = await store.readings(["s-ben", "s-unknown", "s-ada"], [ALWAYS])

    assert found.site.tolist() == [0, 2, 2]
    assert found.at_s.tolist() == [int(after(minutes).timestamp()) for minutes in (10, 5, 15)]


async def test_both_ends_of_an_interval_belong_to_it_and_nothing_comes_twice(store: Store) -> None:
    await store.append([a_message("s-ada", *range(1, 9))], at=NOON)
    asked = [Interval(after(30), after(35)), Interval(after(10), after(15)), Interval(after(15), after(20))]

    found = await store.readings(["s-ada"], asked)

    assert found.discharged_wh.tolist() == [200, 300, 400, 600, 700]


async def test_counters_that_a_home_does_not_share_are_marked(store: Store) -> None:
    alone = a_reading("s-ada", 1, 1, quality=Quality.ESTIMATED)
    shared = replace(alone, soc_permille=None, imported_wh=WattHours(3), exported_wh=WattHours(0))
    await store.append([MeterMessage("s-ada", BOOT, 1, (shared,)), a_message("s-ben", 1)], at=NOON)

    found = await store.readings(["s-ada", "s-ben"], [ALWAYS])

    assert found.imported_wh.tolist() == [3, NOT_METERED]
    assert found.exported_wh.tolist() == [0, NOT_METERED]
    assert found.charged_wh.tolist() == [9_000, 9_000]
    assert seen(found)[0] == (0, 1, Quality.ESTIMATED)


async def test_a_home_without_battery_counters_is_kept_by_its_grid_meter(store: Store) -> None:
    grid = replace(
        a_reading("s-ada", 1, 1), discharged_wh=None, charged_wh=None,
        imported_wh=WattHours(3), exported_wh=WattHours(0),
    )  # fmt: skip
    for _ in range(2):
        await store.append([MeterMessage("s-ada", BOOT, 1, (grid,))], at=NOON)

    found = await store.readings(["s-ada"], [ALWAYS])

    assert seen(found) == [(0, NOT_METERED, Quality.OK)]
    assert (found.charged_wh.tolist(), found.imported_wh.tolist()) == ([NOT_METERED], [3])


async def test_where_nothing_was_asked_or_stored_columns_are_empty(store: Store) -> None:
    for site_ids, intervals in ((["s-ada"], [ALWAYS]), ([], [ALWAYS]), (["s-ada"], [])):
        assert len(await store.readings(site_ids, intervals)) == 0
    assert await store.newest_reading_at([]) == {}
    assert await store.append([], at=NOON) == []


async def test_newest_reading_is_the_newest_that_can_be_used(store: Store) -> None:
    refused = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 4, 50, quality=Quality.BAD),))
    await store.append([a_message("s-ada", 3, 1), refused], at=NOON)

    assert await store.newest_reading_at(["s-ben", "s-ada"]) == {"s-ada": after(15)}


async def test_more_readings_than_a_statement_has_parameters_go_in_at_once(store: Store) -> None:
    messages = [a_message("s-ada", *range(1, 20_001)), a_message("s-ben", *range(1, 20_001))]

    receipts = await store.append(messages, at=NOON)

    assert [each.stored_through for each in receipts] == [20_000, 20_000]
    assert len(await store.readings(["s-ada", "s-ben"], [Interval(after(0), after(100_000))])) == 40_000


async def test_excluded_days_keep_their_first_reason(store: Store) -> None:
    for site_id, day, reason in (("s-ada", 8, "battery repaired"), ("*", 7, "holiday"), ("*", 7, "again")):
        await store.exclude_day(site_id, date(2026, 9, day), reason, at=after(day))

    assert await store.excluded_days() == [
        ("*", date(2026, 9, 7), "holiday"),
        ("s-ada", date(2026, 9, 8), "battery repaired"),
    ]
    assert await store.excluded_days(before=after(8)) == [("*", date(2026, 9, 7), "holiday")]


async def test_an_excluded_day_that_counts_again_was_excluded_until_then(store: Store) -> None:
    day = date(2026, 9, 8)
    await store.include_day("s-ada", day, at=after(0))  # nothing to take back
    await store.exclude_day("s-ada", day, "outage", at=after(1))
    for second in (3, 4):
        await store.include_day("s-ada", day, at=after(second))
    await store.exclude_day("*", day, "outage", at=after(3))

    assert await store.excluded_days() == [("*", day, "outage")]
    assert await store.excluded_days(before=after(2)) == [("s-ada", day, "outage")]
    await store.exclude_day("s-ada", day, "event", at=after(3))
    assert await store.excluded_days() == [("*", day, "outage"), ("s-ada", day, "event")]


async def test_readings_can_be_asked_as_they_were_known_before_an_instant(store: Store) -> None:
    await store.append([a_message("s-ada", 1, 2)], at=NOON)
    other = MeterMessage("s-ada", BOOT, 1, (a_reading("s-ada", 2, 777),))
    await store.append([a_message("s-ada", 3), other], at=after(60))

    assert seen(await store.readings(["s-ada"], [ALWAYS], before=after(60))) == [
        (0, 100, Quality.OK),
        (0, 200, Quality.OK),
    ]
    assert len(await store.readings(["s-ada"], [ALWAYS], before=NOON)) == 0
    assert seen(await store.readings(["s-ada"], [ALWAYS], before=after(61))) == [
        (0, 100, Quality.OK),
        (0, 200, Quality.BAD),
        (0, 777, Quality.BAD),
        (0, 300, Quality.OK),
    ]


def imported(*rows: tuple[int, int]) -> MeterMessage:
    """Return imported readings, each given as (minute, discharged watt-hours)."""
    readings = tuple(
        a_reading("s-ada", int(after(minute).timestamp()), wh, at=after(minute), boot_id=IMPORT_BOOT)
        for minute, wh in rows
    )
    return MeterMessage("s-ada", IMPORT_BOOT, readings[0].index, readings)


@pytest.mark.parametrize("gateway_first", [True, False])
async def test_imported_readings_end_where_the_sites_gateway_begins(
    store: Store, *, gateway_first: bool
) -> None:
    gateway = a_message("s-ada", 1, 2, 3, 4)  # minutes 5 to 20
    history = imported((-60, 10), (0, 20), (12, 9_000), (17, 9_100))
    assert await store.own_readings_since(["s-ada"]) == {}

    for message in (gateway, history) if gateway_first else (history, gateway):
        await store.append([message], at=NOON)

    assert await store.own_readings_since(["s-ben", "s-ada"]) == {"s-ada": after(5)}
    assert [wh for _, wh, _ in seen(await store.readings(["s-ada"], [ALWAYS]))] == [
        10, 20, 100, 200, 300, 400,
    ]  # fmt: skip
    assert await store.newest_reading_at(["s-ada"]) == {"s-ada": after(20)}


def spoken(boot_id: str, *minutes: float, wh: int = 0) -> MeterMessage:
    """Return readings of a boot at these minutes, that count 100 Wh each and ``wh`` more in all."""
    readings = tuple(
        a_reading("s-ada", index, 100 * index + wh, at=after(minute), boot_id=boot_id)
        for index, minute in enumerate(minutes, start=1)
    )
    return MeterMessage("s-ada", boot_id, 1, readings)


async def test_two_gateways_that_speak_at_the_same_time_are_neither_believed_in_any_order(
    store: Store,
) -> None:
    messages = [
        MeterMessage("s-ada", each.boot_id, 1, (each.readings[index],))
        for each in (spoken(BOOT, 0, 10, 20, 30), spoken(OTHER_BOOT, 15, 25, 35, wh=7))
        for index in range(len(each.readings))
    ]
    expected = [
        (0, 100, Quality.OK), (0, 200, Quality.OK), (0, 107, Quality.BAD), (0, 300, Quality.BAD),
        (0, 207, Quality.BAD), (0, 400, Quality.BAD), (0, 307, Quality.OK),
    ]  # fmt: skip
    for number in range(8):
        shuffled = [*messages, *messages[::3]]
        random.Random(number).shuffle(shuffled)
        site_id = f"s-{number}"
        await store.enroll([a_request(site_id)], at=NOON)
        for each in shuffled:
            readings = tuple(replace(reading, site_id=site_id) for reading in each.readings)
            await store.append([replace(each, site_id=site_id, readings=readings)], at=NOON)

        assert seen(await store.readings([site_id], [ALWAYS])) == expected
        assert await store.newest_reading_at([site_id]) == {site_id: after(35)}


async def test_site_for_which_two_gateways_speak_is_named_when_that_is_found_and_not_again(
    store: Store,
) -> None:
    found_at = NOON + timedelta(hours=2)
    await store.append([spoken(BOOT, 0, 10, 20, 30)], at=NOON)
    quiet = await store.contested_since(NOON)
    await store.append([spoken(OTHER_BOOT, 15, 25, wh=7)], at=found_at)
    await store.append([spoken(OTHER_BOOT, 15, 25, wh=7)], at=found_at + timedelta(hours=1))

    found = await store.contested_since(found_at)
    later = await store.contested_since(found_at + timedelta(seconds=1))

    nobody = {ReadingFault.TWO_GATEWAYS: [], ReadingFault.BESIDE_THE_GATEWAY: []}
    assert quiet == later == nobody
    assert found == nobody | {ReadingFault.TWO_GATEWAYS: ["s-ada"]}


async def test_what_an_older_boot_still_held_when_the_gateway_started_again_is_believed(
    store: Store,
) -> None:
    await store.append([spoken(BOOT, 0, 5)], at=NOON)
    await store.append([spoken(OTHER_BOOT, 20, 25, wh=500)], at=NOON)
    drained = tuple(
        a_reading("s-ada", index, 100 * index, at=after(minute)) for index, minute in ((3, 10), (4, 20.4))
    )

    await store.append([MeterMessage("s-ada", BOOT, 1, drained)], at=NOON)

    qualities = [quality for _, _, quality in seen(await store.readings(["s-ada"], [ALWAYS]))]
    assert qualities == [Quality.OK] * 6


async def test_a_second_gateway_is_known_from_its_first_word_on(store: Store) -> None:
    await store.append([spoken(BOOT, 0, 10, 20)], at=NOON)
    await store.append([spoken(OTHER_BOOT, 15)], at=after(30))

    assert len(seen(await store.readings(["s-ada"], [ALWAYS], before=after(30)))) == 3
    qualities = [quality for _, _, quality in seen(await store.readings(["s-ada"], [ALWAYS]))]
    assert qualities == [Quality.OK, Quality.OK, Quality.BAD, Quality.OK]


async def test_an_older_reading_of_the_gateway_ends_the_imported_ones_earlier(store: Store) -> None:
    await store.append([imported((-60, 10), (0, 20), (12, 9_000), (30, 9_300))], at=NOON)
    await store.append([a_message("s-ada", 4)], at=after(30))
    await store.append([a_message("s-ada", 1)], at=after(31))

    assert [wh for _, wh, _ in seen(await store.readings(["s-ada"], [ALWAYS]))] == [10, 20, 100, 400]
    before = await store.readings(["s-ada"], [ALWAYS], before=after(31))
    assert [wh for _, wh, _ in seen(before)] == [10, 20, 9_000, 400]
