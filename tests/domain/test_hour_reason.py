"""Why an hour is not OK is said with the readings that make it so."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.money_world import EVENT_DAY, local
from vpp.domain.delivery import (
    NOT_METERED,
    QUALITY_CODES,
    Quality,
    ReadingColumns,
    counter_track,
    net_energy,
)
from vpp.domain.hour_reason import HourFault, HourReason, hour_reason
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import column

HOUR = Interval(local(EVENT_DAY, 18), local(EVENT_DAY, 19))
MINUTE = timedelta(minutes=1)


def at(minute: int) -> datetime:
    """Return an instant by its minutes from the hour's start."""
    return HOUR.starts_at + minute * MINUTE


def readings(minutes: list[int], *, bad: int | None = None, estimated: int | None = None) -> ReadingColumns:
    """Return readings at these minutes, one watt-hour a minute, of a neighbour too."""
    quality = [3 if each == bad else 1 if each == estimated else 0 for each in minutes]
    count = len(minutes)
    unused = column([NOT_METERED] * (count + 2))
    return ReadingColumns(
        site=column([0] * count + [1, 1]),
        at_s=column([*(to_epoch(at(each)) for each in minutes), to_epoch(at(20)), to_epoch(at(70))]),
        discharged_wh=column([*(9_000 + each for each in minutes), 7, 8]),
        charged_wh=column([0] * (count + 2)),
        imported_wh=unused,
        exported_wh=unused,
        quality=column([*quality, 3, 3]),
    )


def why(found: ReadingColumns, stretch: Interval = HOUR) -> HourReason | None:
    return hour_reason(counter_track(found, MeterOfRecord.DEVICE), 0, stretch)


EVERY_FIVE = list(range(-60, 125, 5))


def test_an_hour_that_is_ok_needs_no_reason():
    assert why(readings(EVERY_FIVE)) is None


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ([*range(-60, 45, 5), *range(110, 130, 5)], (HourFault.NO_READING, at(40), at(110))),
        ([*range(-60, 45, 5)], (HourFault.NO_READING, at(40), None)),
        ([*range(30, 90, 5)], (HourFault.NO_READING, None, at(30))),
        ([], (HourFault.NO_READING, None, None)),
        ([*range(-60, 45, 5), *range(70, 90, 5)], (HourFault.READINGS_APART, at(40), at(70))),
    ],
)
def test_a_gap_is_named_by_the_readings_on_its_sides(
    minutes: list[int], expected: tuple[HourFault, datetime | None, datetime | None]
):
    assert why(readings(minutes)) == HourReason(*expected)


def test_a_reading_that_is_not_believed_is_named_by_its_time():
    found = why(readings(EVERY_FIVE, bad=35))

    assert found == HourReason(HourFault.BAD_READING, at(35), at(35))


def test_an_estimated_reading_at_an_edge_is_named():
    assert why(readings(EVERY_FIVE, estimated=60)) == HourReason(HourFault.ESTIMATED_READING, at(60), at(60))


def test_a_counter_that_began_anew_is_named():
    whole = readings(EVERY_FIVE)
    anew = np.where((whole.at_s >= to_epoch(at(25))) & (whole.site == 0), whole.discharged_wh - 9_025, 0)
    counter = np.where((whole.at_s >= to_epoch(at(25))) & (whole.site == 0), anew, whole.discharged_wh)

    found = why(replace(whole, discharged_wh=counter))

    assert found == HourReason(HourFault.COUNTER_RESET, at(25), at(25))


@given(
    minutes=st.lists(st.integers(-150, 210), unique=True).map(sorted),
    qualities=st.lists(st.sampled_from([0, 0, 0, 0, 1, 3]), min_size=400, max_size=400),
    falls=st.sets(st.integers(-150, 210), max_size=2),
    part=st.tuples(st.integers(0, 29), st.integers(30, 60)),
)
def test_every_hour_that_is_not_ok_has_a_reason_of_its_kind(
    minutes: list[int], qualities: list[int], falls: set[int], part: tuple[int, int]
):
    whole, stretch = readings(minutes), Interval(at(part[0]), at(part[1]))
    counter = whole.discharged_wh.copy()
    for each in falls:
        later = (whole.at_s >= to_epoch(at(each))) & (whole.site == 0)
        counter[later] -= counter[later].min(initial=9_999)
    said = np.where(whole.site == 0, np.resize(qualities, len(whole)), whole.quality)
    found = replace(whole, quality=said, discharged_wh=counter)
    edges = (column([to_epoch(each)]) for each in (stretch.starts_at, stretch.ends_at))
    _, (code,) = net_energy(counter_track(found, MeterOfRecord.DEVICE), column([0]), *edges)

    reason = why(found, stretch)

    kinds = {
        Quality.OK: {None},
        Quality.ESTIMATED: {
            HourFault.READINGS_APART,
            HourFault.COUNTER_RESET,
            HourFault.ESTIMATED_READING,
        },
        Quality.MISSING: {HourFault.NO_READING, HourFault.COUNTER_RESET},
        Quality.BAD: {HourFault.BAD_READING},
    }
    assert (None if reason is None else reason.fault) in kinds[QUALITY_CODES[int(code)]]
