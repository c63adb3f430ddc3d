"""How the baseline of a grid meter follows the event day, and methods that average the highest days."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest

from tests.domain.money_world import (
    EVENT_DAY,
    a_meter,
    a_program,
    an_event,
    local,
    settle_one,
    weekdays_before,
)
from vpp.domain.baseline import LOOKBACK_DAYS, DayDropped, DayEnergies, baseline_method
from vpp.domain.program import MeterOfRecord
from vpp.domain.rest_days import rest_days
from vpp.domain.settled_event import adjustment_hours, reading_intervals
from vpp.domain.settlement import SettlementLine

MORNING = (14, 15, 16)  # the first three of the four clock hours before 18:00
AFTER = (20, 21, 22)  # the last three of the four after 19:00


def a_load(by_hour: Mapping[int, int], *, on: date) -> dict[datetime, int]:
    """Return what flows out through a grid meter: the load, turned round."""
    return {local(on, hour): -wh for hour, wh in by_hour.items()}


def settled_at_the_grid(
    *,
    method: str,
    before_wh: int,
    usual_wh: int = 1_000,
    after_wh: int | None = None,
    skip: int | None = None,
    starts_at: datetime | None = None,
) -> SettlementLine:
    """Settle 18:00 to 19:00 with 400 Wh of load against 2,000 Wh on ten days before.

    ``before_wh`` is the load in each adjustment hour of the event day, ``usual_wh`` on the ten days.
    """
    around = (*MORNING, *(AFTER if after_wh is not None else ()))
    hours = a_load({18: 400}, on=EVENT_DAY)
    for hour in around:
        wh = before_wh if hour in MORNING else after_wh
        if hour != skip and wh is not None:
            hours |= a_load({hour: wh}, on=EVENT_DAY)
    for day in weekdays_before(EVENT_DAY, 10):
        hours |= a_load({18: 2_000} | dict.fromkeys(around, usual_wh), on=day)
    program = a_program(meter=MeterOfRecord.SITE, baseline_method=method)
    event = an_event(starts_at or local(EVENT_DAY, 18), local(EVENT_DAY, 19), program)
    return settle_one(a_meter(hours), event)


@pytest.mark.parametrize(
    ("method", "ratio_percent", "incremental_wh", "cents"),
    [
        ("ten_of_ten", 150, 2_400, 480),
        ("ten_of_ten", 120, 2_000, 400),
        ("ten_of_ten", 80, 1_600, 320),
        ("caiso_ten_of_ten", 150, 2_000, 400),
        ("caiso_ten_of_ten", 80, 1_200, 240),
    ],
)
def test_a_grid_baseline_follows_the_hours_before_the_event_inside_its_bounds(
    method: str, ratio_percent: int, incremental_wh: int, cents: int
):
    line = settled_at_the_grid(method=method, before_wh=ratio_percent * 10)

    assert line.incremental_wh == incremental_wh
    assert line.amount == cents * 10_000


def test_the_adjusted_baseline_is_what_the_line_shows():
    line = settled_at_the_grid(method="ten_of_ten", before_wh=1_200)

    assert (line.adjustment, line.hours[0].baseline_wh) == (Fraction(6, 5), 2_400)


@pytest.mark.parametrize("usual_wh", [0, -500])
def test_a_home_that_usually_exports_before_the_event_is_not_adjusted(usual_wh: int):
    assert settled_at_the_grid(method="ten_of_ten", before_wh=1_500, usual_wh=usual_wh).adjustment == 1


def test_no_ratio_is_guessed_where_an_hour_before_the_event_is_missing():
    line = settled_at_the_grid(method="ten_of_ten", before_wh=1_500, skip=15)

    assert (line.adjustment, line.incremental_wh, line.quality) == (1, 1_600, "OK")


def test_the_hours_before_are_counted_from_the_clock_hour_in_which_the_event_begins():
    line = settled_at_the_grid(method="ten_of_ten", before_wh=1_200, starts_at=local(EVENT_DAY, 18, 40))

    assert line.adjustment == Fraction(6, 5)
    assert line.hours[0].fraction == Fraction(1, 3)


def test_the_residential_method_looks_at_the_hours_after_the_event_too():
    only_before = settled_at_the_grid(method="five_of_ten", before_wh=1_200, after_wh=1_000)
    both = settled_at_the_grid(method="five_of_ten", before_wh=1_200, after_wh=1_400)
    far_below = settled_at_the_grid(method="five_of_ten", before_wh=100, after_wh=100)

    assert [line.adjustment for line in (only_before, both, far_below)] == [
        Fraction(11, 10),
        Fraction(13, 10),
        Fraction(6, 10),
    ]


def test_a_battery_is_never_adjusted():
    assert adjustment_hours(an_event()) == ()


def test_readings_are_asked_for_the_hours_before_the_event():
    event = an_event(program=a_program(meter=MeterOfRecord.SITE))

    assert reading_intervals(event)[-1].starts_at == local(EVENT_DAY, 13)


def energies_of(days_wh: Mapping[date, int], event_day: date) -> DayEnergies:
    energy = np.zeros((1, LOOKBACK_DAYS, 1), dtype=np.int64)
    for day, wh in days_wh.items():
        energy[0, (event_day - day).days - 1, 0] = wh
    nothing = np.zeros_like(energy)
    return DayEnergies(event_day, energy, nothing, nothing[:, :, 0])


def test_the_five_highest_of_the_ten_latest_weekdays_are_averaged():
    weekdays = weekdays_before(EVENT_DAY, 11)
    loads = dict(zip(weekdays, [1, 10, 2, 9, 3, 8, 4, 7, 5, 6, 100], strict=True))
    days = energies_of(loads, EVENT_DAY)

    found = baseline_method("five_of_ten").select(days, rest_days("NERC"))

    assert (found.sum_wh[0, 0], found.divisor[0]) == (10 + 9 + 8 + 7 + 6, 5)
    lower = [days.day(int(back)) for back in np.flatnonzero(found.dropped[0])]
    assert lower == [weekdays[place] for place in (0, 2, 4, 6, 8)]


def test_of_equally_high_days_the_later_ones_count():
    days = energies_of(dict.fromkeys(weekdays_before(EVENT_DAY, 10), 500), EVENT_DAY)

    found = baseline_method("five_of_ten").select(days, rest_days("NERC"))

    assert [days.day(int(back)) for back in np.flatnonzero(found.chosen[0])] == weekdays_before(EVENT_DAY, 5)


def test_of_five_weekend_days_the_three_highest_are_weighted():
    saturday = date(2026, 9, 19)
    weekend = [saturday - timedelta(days=back) for back in (6, 7, 12, 13, 14)]
    loads = dict(zip(weekend, [100, 500, 300, 200, 400], strict=True))
    loads[saturday - timedelta(days=20)] = 9_000

    found = baseline_method("five_of_ten").select(energies_of(loads, saturday), rest_days("NERC"))

    assert Fraction(int(found.sum_wh[0, 0]), int(found.divisor[0])) == Fraction(
        50 * 500 + 30 * 400 + 20 * 300, 100
    )


def test_with_no_baseline_all_that_is_delivered_is_incremental():
    line = settle_one(
        a_meter({local(EVENT_DAY, 18): 4_500}),
        an_event(ends_at=local(EVENT_DAY, 19), program=a_program(baseline_method="none")),
    )

    assert (line.incremental_wh, line.quality, line.baseline_days.chosen) == (4_500, "OK", ())
    assert DayDropped.EVENT not in dict(line.baseline_days.dropped).values()
