"""Energy from lifetime counters, and what becomes of readings that cannot be true."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.money_world import Row, a_meter, columns
from vpp.domain.delivery import (
    QUALITY_CODES,
    MeterReading,
    Quality,
    ReadingColumns,
    counter_track,
    net_energy,
)
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.plausibility import LateRule, judge_readings
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import WattHours, Watts, column

SIX = datetime(2026, 9, 10, 1, tzinfo=UTC)  # 18:00 in California
MINUTE = timedelta(minutes=1)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def energy(readings: ReadingColumns, starts_at: datetime, ends_at: datetime) -> tuple[int, Quality]:
    track = counter_track(readings, MeterOfRecord.DEVICE)
    wh, quality = net_energy(track, column([0]), column([to_epoch(starts_at)]), column([to_epoch(ends_at)]))
    return int(wh[0]), QUALITY_CODES[quality[0]]


def ok(at: datetime, discharged: int, charged: int = 0) -> Row:
    return at, discharged, charged, Quality.OK


def test_counters_give_the_energy_that_summed_power_only_approximates():
    # Twelve five-minute means of 0, 2.5, 5 x 9, 2.5 kW integrate to 4,166.667 Wh; the counter wins.
    readings = columns([ok(SIX, 12_319_540), ok(SIX + minutes(60), 12_323_700)])

    assert energy(readings, SIX, SIX + minutes(60)) == (4_160, Quality.OK)


def test_charging_counts_against_discharging():
    readings = columns([ok(SIX, 1_000, 500), ok(SIX + minutes(60), 4_000, 900)])

    assert energy(readings, SIX, SIX + minutes(60)) == (2_600, Quality.OK)


@pytest.mark.parametrize(
    ("gap_minutes", "expected"),
    [(5, Quality.OK), (5.1, Quality.ESTIMATED), (60, Quality.ESTIMATED), (60.1, Quality.MISSING)],
)
def test_an_edge_between_readings_is_as_good_as_they_are_close(gap_minutes: float, expected: Quality):
    end = SIX + minutes(60)
    readings = columns([ok(SIX, 0), ok(end - minutes(1), 1_000), ok(end - minutes(1 - gap_minutes), 2_000)])

    assert energy(readings, SIX, end)[1] == expected


def test_an_edge_is_interpolated_and_rounded_half_up_to_the_watt_hour():
    halfway = columns([ok(SIX, 0), ok(SIX + minutes(5), 101)])
    below = columns([ok(SIX, 0), ok(SIX + timedelta(seconds=300), 1)])

    assert energy(halfway, SIX, SIX + timedelta(seconds=150)) == (51, Quality.OK)
    assert energy(below, SIX, SIX + timedelta(seconds=149)) == (0, Quality.OK)


def test_an_hour_without_a_reading_on_one_side_is_missing():
    before_only = columns([ok(SIX - minutes(5), 0), ok(SIX + minutes(50), 100)])

    assert energy(before_only, SIX, SIX + minutes(60)) == (0, Quality.MISSING)


def test_a_site_without_readings_is_missing():
    someone_else = columns([], [ok(SIX, 0), ok(SIX + minutes(60), 100)])
    nobody = columns([])

    assert energy(someone_else, SIX, SIX + minutes(60)) == (0, Quality.MISSING)
    assert energy(nobody, SIX, SIX + minutes(60)) == (0, Quality.MISSING)


def test_a_replaced_meter_starts_a_new_segment_and_never_gives_negative_energy():
    replaced = columns(
        [
            ok(SIX, 9_000),
            ok(SIX + minutes(30), 11_000),
            ok(SIX + minutes(35), 7),
            ok(SIX + minutes(60), 1_507),
        ]
    )

    assert energy(replaced, SIX, SIX + minutes(60)) == (3_500, Quality.ESTIMATED)


def test_a_reset_in_a_long_silence_leaves_the_hour_missing():
    silent = columns([ok(SIX, 9_000), ok(SIX + minutes(61), 7), ok(SIX + minutes(120), 1_000)])

    assert energy(silent, SIX, SIX + minutes(120))[1] == Quality.MISSING


@pytest.mark.parametrize(
    ("silent_minutes", "expected"), [(5, Quality.ESTIMATED), (15, Quality.ESTIMATED), (16, Quality.MISSING)]
)
def test_a_meter_replaced_in_a_silence_of_over_15_minutes_leaves_the_hour_missing(
    silent_minutes: int, expected: Quality
):
    # Nothing bridges the silence, so most of the hour's energy could be gone.
    replaced = columns(
        [
            ok(SIX, 9_000),
            ok(SIX + minutes(30), 11_000),
            ok(SIX + minutes(30 + silent_minutes), 7),
            ok(SIX + minutes(60), 1_507),
        ]
    )

    assert energy(replaced, SIX, SIX + minutes(60))[1] == expected


def test_a_charge_counter_that_falls_ends_the_segment_of_both_counters():
    replaced = columns(
        [ok(SIX, 9_000, 500), ok(SIX + minutes(5), 50_000, 2), ok(SIX + minutes(60), 50_100, 2)]
    )

    assert energy(replaced, SIX, SIX + minutes(60)) == (100, Quality.ESTIMATED)


def test_a_counter_that_falls_back_on_its_old_series_keeps_nothing_of_what_it_had_risen():
    spiked = columns([ok(SIX, 1_000), ok(SIX + minutes(30), 7_500), ok(SIX + minutes(35), 1_010)])
    charging = columns([ok(SIX, 0, 500), ok(SIX + minutes(30), 0, 9_000), ok(SIX + minutes(35), 0, 600)])

    assert energy(spiked, SIX, SIX + minutes(35)) == (10, Quality.ESTIMATED)
    assert energy(charging, SIX, SIX + minutes(35)) == (-100, Quality.ESTIMATED)


def test_a_meter_that_begins_at_nothing_is_another_one_even_where_the_old_one_had_hardly_begun():
    replaced = columns(
        [ok(SIX, 0), ok(SIX + minutes(30), 2_000), ok(SIX + minutes(35), 0), ok(SIX + minutes(60), 1_500)]
    )

    assert energy(replaced, SIX, SIX + minutes(60)) == (3_500, Quality.ESTIMATED)


def test_two_counters_told_in_turn_are_no_energy_but_what_one_of_them_rose():
    in_turn = [ok(SIX + minutes(5 * at), 1_000 + at + 175 * (at % 2)) for at in range(13)]

    assert energy(columns(in_turn), SIX, SIX + minutes(60)) == (12, Quality.ESTIMATED)


def test_a_bad_reading_spoils_the_hour_it_lies_in_and_no_other():
    rows = a_meter({SIX: 1_200, SIX + minutes(60): 600})
    rows[3] = (rows[3][0], 99_999_999, rows[3][2], Quality.BAD)

    assert energy(columns(rows), SIX, SIX + minutes(60)) == (0, Quality.BAD)
    assert energy(columns(rows), SIX + minutes(60), SIX + minutes(120)) == (600, Quality.OK)


def test_an_estimated_reading_at_an_edge_makes_an_estimate():
    at, discharged, charged, _ = ok(SIX + minutes(60), 500)
    readings = columns([ok(SIX, 0), (at, discharged, charged, Quality.ESTIMATED)])

    assert energy(readings, SIX, SIX + minutes(60)) == (500, Quality.ESTIMATED)


def test_two_values_for_one_instant_spoil_the_hour():
    readings = columns(
        [ok(SIX, 0), ok(SIX + minutes(30), 100), ok(SIX + minutes(30), 101), ok(SIX + minutes(60), 200)]
    )

    assert energy(readings, SIX, SIX + minutes(60)) == (0, Quality.BAD)


@given(data=st.data(), nets=st.lists(st.integers(-5_000, 5_000), min_size=2, max_size=4))
def test_order_and_copies_of_readings_do_not_matter(data: st.DataObject, nets: list[int]):
    readings = columns(a_meter({SIX + minutes(60 * at): wh for at, wh in enumerate(nets)}))
    chosen = data.draw(st.permutations(list(range(len(readings))) + data.draw(st.lists(st.integers(0, 24)))))
    shuffled = ReadingColumns(*(getattr(readings, name)[chosen] for name in ReadingColumns.__slots__))

    for hour in range(len(nets)):
        starts_at = SIX + minutes(60 * hour)
        assert energy(shuffled, starts_at, starts_at + minutes(60)) == (nets[hour], Quality.OK)


@given(cut=st.integers(1, 3_599), net=st.integers(0, 5_000))
def test_the_parts_of_an_hour_add_up_to_the_hour(cut: int, net: int):
    readings = columns(a_meter({SIX: net}))
    middle = SIX + timedelta(seconds=cut)

    first, second = energy(readings, SIX, middle)[0], energy(readings, middle, SIX + minutes(60))[0]

    assert first + second == net
    assert first >= 0 <= second


@given(counters=st.lists(st.integers(0, 10_000), min_size=2, max_size=13))
def test_no_sequence_of_resets_makes_a_discharge_counter_run_backwards(counters: list[int]):
    readings = columns([ok(SIX + minutes(5 * at), wh) for at, wh in enumerate(counters)])

    assert energy(readings, SIX, SIX + minutes(5 * (len(counters) - 1)))[0] >= 0


def test_many_sites_are_answered_each_from_its_own_readings():
    track = counter_track(columns(a_meter({SIX: 100}), a_meter({SIX: 200}), []), MeterOfRecord.DEVICE)
    sites = column([2, 1, 0])
    from_s = column(np.full(3, to_epoch(SIX)))

    wh, quality = net_energy(track, sites, from_s, from_s + 3600)

    assert wh.tolist() == [0, 200, 100]
    assert [QUALITY_CODES[code] for code in quality] == [Quality.MISSING, Quality.OK, Quality.OK]


def a_reading(
    at: datetime = SIX, discharged: int = 1_000, charged: int = 1_000, index: int = 1
) -> MeterReading:
    return MeterReading(
        "s-1", "b" * 32, index, at, WattHours(discharged), WattHours(charged), None, Quality.OK
    )


THREE_HOURS = Interval(SIX, SIX + timedelta(hours=3))
HOUR = timedelta(hours=1)


def judged(reading: MeterReading, previous: MeterReading | None = None, *, later: timedelta = MINUTE):
    (seen,) = judge_readings(
        [reading],
        known=[] if previous is None else [previous],
        rated_discharge=Watts(5_000),
        rated_charge=Watts(5_000),
        received_at=reading.at + later,
        late=LateRule(8, (THREE_HOURS,)),
    )
    return seen


def all_judged(
    readings: Sequence[MeterReading], known: Sequence[MeterReading] = ()
) -> tuple[MeterReading, ...]:
    return judge_readings(
        readings,
        known=known,
        rated_discharge=Watts(5_000),
        rated_charge=Watts(5_000),
        received_at=SIX + minutes(120),
        late=LateRule(8),
    )


def test_a_plausible_reading_is_taken_at_its_word():
    after_full_power = a_reading(SIX + minutes(60), discharged=6_000)

    assert judged(after_full_power, a_reading()) == after_full_power


@pytest.mark.parametrize(("discharged", "charged"), [(6_252, 1_000), (1_000, 6_252)])
def test_more_energy_than_rated_power_can_move_is_refused(discharged: int, charged: int):
    seen = judged(a_reading(SIX + minutes(60), discharged, charged), a_reading())

    assert (seen.quality, seen.reason) == (Quality.BAD, "jump")


@pytest.mark.parametrize(("imported", "exported"), [(100_802, 0), (0, 100_802)])
def test_a_grid_meter_that_counts_more_than_a_home_can_carry_is_refused(imported: int, exported: int):
    before = replace(a_reading(), imported_wh=WattHours(0), exported_wh=WattHours(0))
    after = a_reading(SIX + minutes(60))
    over = replace(after, imported_wh=WattHours(imported), exported_wh=WattHours(exported))
    most = replace(after, imported_wh=WattHours(min(imported, 100_801)), exported_wh=WattHours(0))

    assert (judged(over, before).quality, judged(over, before).reason) == (Quality.BAD, "jump")
    assert judged(most, before).quality is Quality.OK
    assert judged(over, a_reading()).quality is Quality.OK  # nothing to compare with


def test_a_counter_that_falls_is_a_reset_and_not_refused():
    assert judged(a_reading(SIX + minutes(60), discharged=3), a_reading()).quality is Quality.OK


def test_a_negative_counter_is_refused():
    assert judged(a_reading(discharged=-1)).reason == "negative_counter"


def test_a_reading_from_the_future_is_refused():
    assert judged(a_reading(), later=timedelta(seconds=-31)).reason == "in_the_future"
    assert judged(a_reading(), later=timedelta(seconds=-30)).reason is None


def test_a_reading_after_the_close_is_kept_and_marked_late():
    late = judged(a_reading(), later=timedelta(days=8, hours=3))

    assert (late.quality, late.reason) == (Quality.OK, "late")
    assert judged(a_reading(SIX + 3 * HOUR), later=timedelta(days=8)).reason == "late"
    assert judged(a_reading(SIX - minutes(1)), later=timedelta(days=8)).reason == "late"  # in no event


def test_a_reading_that_comes_before_its_event_closes_is_never_late():
    a_second_before = timedelta(days=8, hours=3, seconds=-1)

    assert judged(a_reading(), later=a_second_before).reason is None
    assert judged(a_reading(SIX + minutes(60)), later=a_second_before - HOUR).reason is None
    assert judged(a_reading(SIX - minutes(1)), later=timedelta(days=8, seconds=-1)).reason is None


def test_after_a_lasting_jump_only_the_first_reading_is_refused():
    jumped = a_reading(SIX + minutes(5), discharged=50_000, index=2)
    onward = a_reading(SIX + minutes(10), discharged=50_100, index=3)

    kept = all_judged([onward, jumped], known=[a_reading()])

    assert kept == (onward, replace(jumped, quality=Quality.BAD, reason="jump"))


def test_a_reading_is_judged_against_stored_ones_between_the_new_ones():
    stored = a_reading(SIX + minutes(5), discharged=1_400)
    first, last = a_reading(), a_reading(SIX + minutes(10), discharged=1_860, index=2)

    assert all_judged([last, first]) == (last, first)
    assert [each.reason for each in all_judged([last, first], known=[stored])] == ["jump", None]


def every_second(first_s: int, seconds: int, *, wh: int) -> list[MeterReading]:
    """Return readings one second apart that rise by so much each."""
    return [
        a_reading(SIX + timedelta(seconds=first_s + at), discharged=1_000 + wh * (first_s + at), index=at)
        for at in range(seconds)
    ]


def test_reading_the_meter_every_second_gains_no_watt_hour_by_rounding():
    told = every_second(0, 3_601, wh=2)  # 7.2 kW of a battery of 5 kW; 5.25 kW are 1.46 Wh a second

    judged_ones = all_judged(told)

    believed = 0
    for before, after in pairwise(judged_ones):
        if Quality.BAD not in (before.quality, after.quality):
            believed += int(after.discharged_wh or 0) - int(before.discharged_wh or 0)
    assert believed <= 5_251
    assert energy(columns([(each.at, each.discharged_wh or 0, 0, each.quality) for each in judged_ones]),
                  SIX, SIX + minutes(60)) == (0, Quality.BAD)  # fmt: skip


@settings(max_examples=30)
@given(seed=st.integers(0, 1_000), cut=st.integers(5, 60))
def test_no_order_of_arrival_lets_more_pass_than_rated_power_gives(seed: int, cut: int):
    told = every_second(0, 60, wh=2)
    random.Random(seed).shuffle(told)
    stored: list[MeterReading] = []
    for first in range(0, len(told), cut):
        stored += all_judged(told[first : first + cut], known=stored)

    assert any(each.quality is Quality.BAD for each in stored)


@settings(max_examples=50)
@given(seed=st.integers(0, 1_000), steps=st.lists(st.integers(0, 437), min_size=2, max_size=24))
def test_what_a_battery_can_give_is_believed_in_any_order(seed: int, steps: list[int]):
    told = [
        a_reading(SIX + minutes(5 * at), discharged=1_000 + sum(steps[:at]), index=at)
        for at in range(len(steps) + 1)
    ]
    random.Random(seed).shuffle(told)
    stored: list[MeterReading] = []
    for each in told:
        stored += all_judged([each], known=stored)

    assert stored == told


def test_a_reading_that_comes_late_cannot_crowd_a_stored_rise_into_a_minute():
    before, after = a_reading(), a_reading(SIX + minutes(60), discharged=6_000, index=3)
    between = a_reading(SIX + minutes(59), discharged=1_000, index=2)

    (seen,) = all_judged([between], known=[before, after])

    assert (seen.quality, seen.reason) == (Quality.BAD, "jump")
    assert [each.quality for each in all_judged([after], known=[before, between])] == [Quality.BAD]
