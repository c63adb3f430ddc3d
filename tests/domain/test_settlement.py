"""From metered energy to the cent, for one site and one event."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.money_world import (
    EVENING,
    EVENT_DAY,
    PACIFIC,
    a_meter,
    a_program,
    an_evening_history,
    an_event,
    columns,
    local,
    settle_one,
    weekdays_before,
)
from vpp.domain.baseline import DayDropped, excluded_days
from vpp.domain.delivery import Quality, ReadingColumns
from vpp.domain.interval import Interval
from vpp.domain.program import MeterOfRecord, NegativePolicy
from vpp.domain.quantities import Price, column, dollars
from vpp.domain.settled_event import NoTerms, reading_intervals, settled_event
from vpp.domain.settlement import (
    Settlement,
    SettlementLine,
    SettlementReason,
    SettlementState,
    SiteQuality,
    same_result,
)
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_sites
from vpp.domain.tariff import paid_energy

SIX_TO_SEVEN = [800, 1000, 1200, 900, 1100, 1000, 700, 1300, 1000, 1000]
SEVEN_TO_EIGHT = [1100, 1200, 1000, 1300, 1200, 1100, 1000, 1400, 1200, 1500]
EIGHT_TO_NINE = [500, 600, 400, 700, 600, 500, 600, 700, 600, 800]
TEN_DAYS = list(zip(SIX_TO_SEVEN, SEVEN_TO_EIGHT, EIGHT_TO_NINE, strict=True))


def test_ten_of_ten_device_baseline_pays_only_what_is_beyond_it():
    line = settle_one(a_meter(an_evening_history([4_500, 4_400, 1_900], TEN_DAYS)))

    assert [hour.baseline_wh for hour in line.hours] == [1_000, 1_200, 600]
    assert [hour.metered_wh for hour in line.hours] == [4_500, 4_400, 1_900]
    assert [hour.incremental_wh for hour in line.hours] == [3_500, 3_200, 1_300]
    assert line.incremental_wh == line.paid_wh == 8_000
    assert dollars(line.amount) == "16.00"
    assert line.baseline_days.chosen == tuple(weekdays_before(EVENT_DAY, 10))
    assert (line.quality, line.reason) == (SiteQuality.OK, None)


def test_a_home_that_used_to_charge_earns_for_stopping_too():
    event = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19))

    line = settle_one(a_meter(an_evening_history([4_500], [[-400]] * 10)), event)

    assert line.incremental_wh == 4_900
    assert dollars(line.amount) == "9.80"


def test_an_event_cancelled_within_an_hour_pays_the_part_of_that_hour():
    event = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19, 37))
    history = an_evening_history([4_500], [[1_000, 1_200]] * 10)
    rows = a_meter(history)
    at_the_cancel = local(EVENT_DAY, 19, 37)
    last = rows[-1]
    rows.append((at_the_cancel, last[1] + 2_600, last[2], Quality.OK))

    line = settle_one(rows, event)

    assert [hour.fraction for hour in line.hours] == [1, Fraction(37, 60)]
    assert [hour.baseline_wh for hour in line.hours] == [1_000, 740]
    assert line.incremental_wh == 5_360
    assert dollars(line.amount) == "10.72"


def test_the_aggregator_keeps_what_the_owner_share_leaves():
    program = a_program(owner_share=Decimal("0.80"), rate=Price(Decimal("1.25")))
    event = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 20), program)

    line = settle_one(a_meter(an_evening_history([5_400, 5_000], [[0, 0]] * 10)), event)

    assert dollars(line.amount) == "10.40"
    assert dollars(line.gross) == "13.00"
    assert dollars(line.margin) == "2.60"


def test_the_evening_of_an_event_keeps_its_local_date():
    event = an_event()

    assert event.day == date(2026, 9, 9)
    assert event.parts[0].starts_at == datetime(2026, 9, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "paid"),
    [
        # A season opens with its first window and ends with its last.
        (local(date(2026, 5, 1), 16), local(date(2026, 5, 1), 17), 3600),
        (local(date(2026, 4, 30), 16), local(date(2026, 4, 30), 17), 0),
        (local(date(2026, 10, 31), 20), datetime(2026, 11, 1, 4, tzinfo=UTC), 3600),
        (local(date(2026, 11, 1), 18), local(date(2026, 11, 1), 19), 0),
        # 20:00-22:00 and 20:30 + 1 h leave the window.
        (local(EVENT_DAY, 20), local(EVENT_DAY, 22), 3600),
        (local(EVENT_DAY, 20, 30), local(EVENT_DAY, 21, 30), 1800),
        (local(EVENT_DAY, 14), local(EVENT_DAY, 17), 3600),
        # Longer than the program's longest event.
        (local(EVENT_DAY, 16), local(EVENT_DAY, 21), 3 * 3600),
    ],
)
def test_a_forced_event_is_settled_for_the_part_inside_the_terms(
    starts_at: datetime, ends_at: datetime, paid: int
):
    event = an_event(starts_at, ends_at)

    assert sum(part.seconds for part in event.parts) == paid


def test_an_event_wholly_outside_the_terms_pays_nothing_and_says_so():
    at_night = an_event(local(EVENT_DAY, 22), local(EVENT_DAY, 23))

    line = settle_one(a_meter({local(EVENT_DAY, 22): 5_000}), at_night)

    assert (line.amount, line.hours, line.settled) == (0, (), None)
    assert (line.baseline_days.chosen, line.baseline_days.dropped) == ((), ())
    assert line.reason == SettlementReason.OUTSIDE_TERMS


def test_a_window_past_midnight_belongs_to_the_evening_before():
    program = a_program(window_opens=time(22), window_closes=time(2))

    event = an_event(local(EVENT_DAY, 23), local(EVENT_DAY + timedelta(days=1), 3), program)

    assert event.parts == (Interval(local(EVENT_DAY, 23), local(EVENT_DAY + timedelta(days=1), 2)),)


def test_a_gap_inside_an_event_is_not_settled():
    evening = Interval(local(EVENT_DAY, 18), local(EVENT_DAY, 20))
    steps = [
        Interval(local(EVENT_DAY, 18), local(EVENT_DAY, 18, 30)),
        Interval(local(EVENT_DAY, 19), local(EVENT_DAY, 20)),
    ]
    event = settled_event("ev-1", a_program(), steps, evening)

    line = settle_one(a_meter(an_evening_history([4_000, 4_000], [[1_000, 1_000]] * 10)), event)

    assert [(hour.fraction, hour.metered_wh) for hour in line.hours] == [(Fraction(1, 2), 2_000), (1, 4_000)]


def test_an_event_before_the_first_edition_of_terms_cannot_be_settled():
    with pytest.raises(NoTerms, match="no terms for 2021-09-09"):
        an_event(local(date(2021, 9, 9), 18), local(date(2021, 9, 9), 19))


def test_a_site_is_settled_until_its_own_opt_out():
    line = settle_one(
        a_meter(an_evening_history([4_000, 4_000, 4_000], [[1_000] * 3] * 10)),
        opted_out_at=local(EVENT_DAY, 19, 15),
    )

    assert line.settled == Interval(local(EVENT_DAY, 18), local(EVENT_DAY, 19, 15))
    assert [(hour.fraction, hour.incremental_wh) for hour in line.hours] == [
        (1, 3_000),
        (Fraction(1, 4), 750),
    ]
    assert line.reason == SettlementReason.OPTED_OUT


def test_a_site_that_opted_out_before_the_start_has_nothing_settled():
    line = settle_one(a_meter(an_evening_history([4_000], [[1_000]] * 10)), opted_out_at=local(EVENT_DAY, 17))

    assert (line.settled, line.hours, line.amount) == (None, (), 0)
    assert (line.quality, line.reason) == (SiteQuality.OK, SettlementReason.OPTED_OUT)


def test_an_hour_that_is_missing_counts_zero_and_the_others_pay():
    rows = a_meter(an_evening_history([4_000, 4_000, 4_000], [[1_000] * 3] * 10))
    gap = (local(EVENT_DAY, 18, 55), local(EVENT_DAY, 20, 5))

    line = settle_one([row for row in rows if not gap[0] < row[0] < gap[1]])

    assert [hour.quality for hour in line.hours] == [Quality.MISSING] * 3
    assert [hour.metered_wh for hour in line.hours] == [None] * 3
    assert line.amount == 0
    assert (line.quality, line.reason) == (SiteQuality.MISSING, SettlementReason.READINGS_MISSING)


def test_an_hour_with_a_bad_reading_counts_zero_and_the_others_pay():
    rows = a_meter(an_evening_history([4_000, 4_000, 4_000], [[1_000] * 3] * 10))
    rows = [
        (at, discharged, charged, Quality.BAD if at == local(EVENT_DAY, 19, 30) else quality)
        for at, discharged, charged, quality in rows
    ]

    line = settle_one(rows)

    assert [hour.incremental_wh for hour in line.hours] == [3_000, 0, 3_000]
    assert dollars(line.amount) == "12.00"
    assert (line.quality, line.reason) == (SiteQuality.BAD, SettlementReason.READINGS_BAD)


def test_an_estimated_hour_pays():
    rows = a_meter(an_evening_history([4_000, 4_000, 4_000], [[1_000] * 3] * 10))
    gap = (local(EVENT_DAY, 18, 50), local(EVENT_DAY, 19, 10))

    line = settle_one([row for row in rows if not gap[0] < row[0] < gap[1]])

    assert line.incremental_wh == 9_000
    assert line.quality is SiteQuality.ESTIMATED


def test_without_ten_similar_days_nothing_is_paid_and_the_meter_is_still_shown():
    line = settle_one(a_meter(an_evening_history([4_000] * 3, [[1_000] * 3] * 9)))

    assert line.quality is SiteQuality.NO_BASELINE
    assert line.reason == SettlementReason.TOO_FEW_DAYS_OF_DATA
    assert [(hour.metered_wh, hour.baseline_wh, hour.incremental_wh) for hour in line.hours] == [
        (4_000, None, 0)
    ] * 3
    assert (line.amount, line.gross, line.paid_wh) == (0, 0, 0)


def test_event_days_leave_the_baseline_and_are_named():
    yesterday = date(2026, 9, 8)
    days = [[9_000] * 3, *[[1_000] * 3] * 10]

    line = settle_one(
        a_meter(an_evening_history([4_000] * 3, days)), excluded=[(yesterday, DayDropped.EVENT)]
    )

    assert line.incremental_wh == 9_000
    assert (yesterday, "event") in line.baseline_days.dropped
    assert yesterday not in line.baseline_days.chosen


HOURS = [Fraction(3_000), Fraction(-1_000), Fraction(500)]


@pytest.mark.parametrize(
    ("policy", "hours", "carried", "paid"),
    [
        (NegativePolicy.NET_EVENT_FLOOR_ZERO, HOURS, 0, 2_500),
        (NegativePolicy.NET_EVENT_FLOOR_ZERO, [Fraction(-5)], 0, 0),
        (NegativePolicy.CLAMP_INTERVAL, HOURS, 0, 3_500),
        (NegativePolicy.NET_SEASON_FLOOR_ZERO, HOURS, -1_000, 1_500),
        (NegativePolicy.NET_SEASON_FLOOR_ZERO, [Fraction(-3_000)], 2_000, -2_000),
    ],
)
def test_hours_below_the_baseline_follow_the_programs_policy(
    policy: NegativePolicy, hours: Sequence[Fraction], carried: int, paid: int
):
    assert paid_energy(hours, policy, Fraction(carried)) == paid


@given(events=st.lists(st.integers(-5_000, 5_000).map(Fraction), max_size=8))
def test_a_season_that_nets_pays_its_sum_or_nothing(events: list[Fraction]):
    carried, paid = Fraction(0), Fraction(0)
    for event in events:
        paid += paid_energy([event], NegativePolicy.NET_SEASON_FLOOR_ZERO, carried)
        carried += event

    assert paid == max(Fraction(0), sum(events, start=Fraction(0)))


def test_money_is_rounded_once_half_up_to_the_cent():
    # 2.5 Wh at $2.00 is half a cent; the program owes it exactly, the owner gets the whole cent.
    event = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19))

    line = settle_one(a_meter(an_evening_history([3], [[1]] * 5 + [[0]] * 5)), event)

    assert line.incremental_wh == Fraction(5, 2)
    assert (line.amount, line.gross) == (10_000, 5_000)


def test_readings_are_asked_for_the_events_hours_on_every_day_looked_at():
    intervals = reading_intervals(an_event())

    assert len(intervals) == 46
    assert intervals[-1] == Interval(local(EVENT_DAY, 17), local(EVENT_DAY, 22))
    assert intervals[0].starts_at == local(EVENT_DAY - timedelta(days=45), 17)


def test_a_grid_meter_counts_the_load_that_was_avoided():
    program = a_program(meter=MeterOfRecord.SITE)
    event = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19), program)
    net_export = an_evening_history([-400], [[-2_000]] * 10)

    line = settle_one(a_meter(net_export), event)

    assert (line.hours[0].metered_wh, line.hours[0].baseline_wh) == (400, 2_000)
    assert line.incremental_wh == 1_600


ENERGIES = st.lists(st.integers(-3_000, 5_000), min_size=3, max_size=3)


@settings(max_examples=40)
@given(event_wh=ENERGIES, day_wh=ENERGIES, policy=st.sampled_from(list(NegativePolicy)))
def test_no_money_without_energy(event_wh: list[int], day_wh: list[int], policy: NegativePolicy):
    event = an_event(program=a_program(negative_policy=policy))

    line = settle_one(a_meter(an_evening_history(event_wh, [day_wh] * 10), every_s=900), event)

    for hour in line.hours:
        assert hour.metered_wh is not None
        assert hour.baseline_wh is not None
        assert hour.incremental_wh <= hour.metered_wh + max(Fraction(0), -hour.baseline_wh)
    most = sum(max(0, wh) + max(0, -base) for wh, base in zip(event_wh, day_wh, strict=True))
    assert 0 <= line.paid_wh <= most


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), opted_out_min=st.integers(0, 200))
def test_order_and_copies_of_readings_never_change_a_result(seed: int, opted_out_min: int):
    generator = np.random.default_rng(seed)
    homes = [
        a_meter(
            an_evening_history(list(generator.integers(-2_000, 5_000, 3)), [[100 * home] * 3] * 10),
            every_s=900,
        )
        for home in range(3)
    ]
    readings = columns(*homes)
    mixed = generator.permutation(
        np.append(np.arange(len(readings)), generator.integers(0, len(readings), 50))
    )
    shuffled = ReadingColumns(*(getattr(readings, name)[mixed] for name in ReadingColumns.__slots__))
    opted_out_s = int(local(EVENT_DAY, 18).timestamp()) + opted_out_min * 60
    sites = SettledSites(
        ("s-0", "s-1", "s-2"),
        ("o-0", "o-1", "o-2"),
        column([NEVER_OPTED_OUT, opted_out_s, NEVER_OPTED_OUT]),
        excluded_days(EVENT_DAY, 3, []),
    )

    assert settle_sites(an_event(), sites, readings) == settle_sites(an_event(), sites, shuffled)


def test_what_an_owner_gets_depends_on_that_owners_meter_alone():
    mine = a_meter(an_evening_history([4_000] * 3, [[1_000] * 3] * 10))
    other = a_meter(an_evening_history([100] * 3, [[-3_000] * 3] * 10))

    def my_line(neighbour: Sequence[tuple[datetime, int, int, Quality]]) -> SettlementLine:
        sites = SettledSites(
            ("mine", "other"), ("o-1", "o-2"), column([NEVER_OPTED_OUT] * 2), excluded_days(EVENT_DAY, 2, [])
        )
        return settle_sites(an_event(), sites, columns(mine, neighbour))[0]

    assert my_line(other) == my_line([]) == my_line(mine)


def test_a_run_later_with_the_same_lines_says_the_same():
    line = settle_one(a_meter(an_evening_history([4_000] * 3, [[1_000] * 3] * 10)))
    at_nine = Settlement("ev-1", "elrp-a4-pge", SettlementState.PROVISIONAL, local(EVENT_DAY, 21), (line,))
    at_ten = Settlement("ev-1", "elrp-a4-pge", SettlementState.PROVISIONAL, local(EVENT_DAY, 22), (line,))

    assert same_result(at_nine, at_ten)
    assert not same_result(
        at_nine, Settlement("ev-1", "elrp-a4-pge", SettlementState.FINAL, at_nine.settled_at, (line,))
    )


def test_settlement_hours_are_clock_hours_of_the_programs_zone():
    line = settle_one(a_meter(an_evening_history([4_000] * 3, [[1_000] * 3] * 10)))

    assert [hour.hour.starts_at.astimezone(PACIFIC).hour for hour in line.hours] == list(EVENING)
