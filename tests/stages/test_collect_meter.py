"""What becomes of meter readings that cannot be true."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.stages.test_collect import EVENING, Street, a_message, a_reading
from vpp.domain.interval import Interval
from vpp.domain.quantities import WattHours


async def qualities(street: Street) -> list[int]:
    window = Interval(EVENING - timedelta(days=10), EVENING + timedelta(minutes=1))
    return [int(code) for code in (await street.store.readings(["s-0000"], [window])).quality]


async def test_more_energy_than_the_battery_can_move_is_stored_as_bad_and_receipted() -> None:
    street = await Street.of_three()
    await street.hear(meter=[a_message(a_reading(1, minutes=-10, discharged_wh=0))])

    # 5 kW for five minutes are 417 Wh, and 438 Wh with the margin.
    await street.hear(meter=[a_message(a_reading(2, minutes=-5, discharged_wh=440))])

    assert await qualities(street) == [0, 3]
    assert street.link.receipts[-1].stored_through == 2


async def test_a_reading_is_judged_against_the_last_one_however_long_ago() -> None:
    street = await Street.of_three()
    await street.hear(meter=[a_message(a_reading(1, minutes=-6 * 60, discharged_wh=0))])

    await street.hear(meter=[a_message(a_reading(2, minutes=0, discharged_wh=40_000))])  # 31,500 Wh at most

    assert await qualities(street) == [0, 3]


async def test_a_grid_meter_that_jumps_between_messages_is_refused() -> None:
    street = await Street.of_three()
    for index, minutes, imported_wh in ((1, -10, 0), (2, -5, 400), (3, 0, 40_000)):
        reading = replace(
            a_reading(index, minutes=minutes, discharged_wh=0),
            imported_wh=WattHours(imported_wh),
            exported_wh=WattHours(0),
        )
        await street.hear(meter=[a_message(reading)])

    assert await qualities(street) == [0, 0, 3]


async def test_messages_every_second_gain_no_watt_hour_by_rounding() -> None:
    street = await Street.of_three()
    for second in range(60):
        reading = a_reading(second + 1, minutes=-10, discharged_wh=2 * second)  # 7.2 kW of 5 kW
        at = reading.at + timedelta(seconds=second)
        await street.hear(meter=[a_message(replace(reading, at=at))])

    assert 3 in await qualities(street)


async def test_readings_of_one_batch_are_judged_against_each_other() -> None:
    street = await Street.of_three()
    late = a_message(a_reading(2, minutes=-5, discharged_wh=10_000))
    early = a_message(a_reading(1, minutes=-10, discharged_wh=0))

    await street.hear(meter=[late, early])

    assert await qualities(street) == [0, 3]


@given(st.permutations(range(8)), st.integers(1, 4))
async def test_two_gateways_with_one_key_are_neither_believed_whatever_comes_first(
    order: list[int], cut: int
) -> None:
    street = await Street.of_three()
    one = [a_message(a_reading(at + 1, minutes=5 * at - 60, discharged_wh=100 * at)) for at in range(4)]
    other = [
        replace(
            each,
            boot_id="c" * 32,
            readings=tuple(
                replace(reading, boot_id="c" * 32, at=reading.at + timedelta(minutes=2))
                for reading in each.readings
            ),
        )
        for each in one
    ]
    messages = [*one, *other]

    for first in range(0, 8, cut):
        await street.hear(meter=[messages[place] for place in order[first : first + cut]])

    # Both speak from the second minute to the fifteenth.
    assert await qualities(street) == [0, 3, 3, 3, 3, 3, 3, 0]
