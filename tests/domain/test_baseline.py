"""Which days a baseline is made of, and when there is none."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import pytest

from tests.domain.money_world import EVENT_DAY, PACIFIC, weekdays_before
from vpp.domain.baseline import (
    LOOKBACK_DAYS,
    Baselines,
    ClockHour,
    DayDropped,
    DayEnergies,
    UnknownBaseline,
    baseline_method,
    clock_hour_of,
    excluded_days,
    ten_of_ten,
)
from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.interval import Interval
from vpp.domain.rest_days import UnknownCalendar, nerc_holidays, rest_days

OK, ESTIMATED, MISSING, BAD = (QUALITY_CODES.index(quality) for quality in Quality)
DROPPED = [None, *DayDropped]


def the_days_before(
    event_day: date = EVENT_DAY,
    *,
    excluded: Sequence[tuple[date, DayDropped]] = (),
    quality: dict[date, int] | None = None,
    sites: int = 1,
) -> DayEnergies:
    """Return one hour a day: 100 Wh the day before, 200 the day before that, and so on."""
    energy = np.tile(np.arange(1, LOOKBACK_DAYS + 1, dtype=np.int64)[None, :, None] * 100, (sites, 1, 1))
    codes = np.zeros(energy.shape, dtype=np.int64)
    for day, code in (quality or {}).items():
        codes[0, (event_day - day).days - 1, 0] = code
    exclusions = excluded_days(event_day, sites, [(None, day, reason) for day, reason in excluded])
    return DayEnergies(event_day, energy, codes, exclusions)


def chosen(days: DayEnergies, baselines: Baselines, site: int = 0) -> list[date]:
    return [days.day(int(back)) for back in np.flatnonzero(baselines.chosen[site])]


def dropped(days: DayEnergies, baselines: Baselines, site: int = 0) -> dict[date, DayDropped | None]:
    return {
        days.day(int(back)): DROPPED[baselines.dropped[site, back]]
        for back in np.flatnonzero(baselines.dropped[site])
    }


def test_a_weekday_event_takes_the_ten_weekdays_before_and_no_holiday():
    days = the_days_before()

    found = ten_of_ten(days, rest_days("NERC"))

    assert chosen(days, found) == weekdays_before(EVENT_DAY, 10)
    assert date(2026, 9, 7) not in chosen(days, found)  # Labor Day
    assert found.valid[0]
    backs = [(EVENT_DAY - day).days for day in weekdays_before(EVENT_DAY, 10)]
    assert found.sum_wh[0, 0] == sum(backs) * 100
    assert found.divisor[0] == 10


def test_a_weekend_event_takes_four_weekend_and_holiday_days():
    saturday = date(2026, 9, 12)
    days = the_days_before(saturday)

    found = ten_of_ten(days, rest_days("NERC"))

    assert chosen(days, found) == [date(2026, 9, 7), date(2026, 9, 6), date(2026, 9, 5), date(2026, 8, 30)]
    assert found.valid[0]
    assert found.divisor[0] == 4


def test_an_event_on_a_holiday_is_compared_with_weekends():
    labor_day = date(2026, 9, 7)
    days = the_days_before(labor_day)

    assert chosen(days, ten_of_ten(days, rest_days("NERC")))[0] == date(2026, 9, 6)


def test_excluded_days_are_passed_over_with_their_reason():
    reasons = [(date(2026, 9, 8), DayDropped.EVENT), (date(2026, 9, 3), DayDropped.OUTAGE)]
    days = the_days_before(excluded=reasons)

    found = ten_of_ten(days, rest_days("NERC"))

    assert dropped(days, found) == dict(reasons)
    assert len(chosen(days, found)) == 10
    assert not set(dict(reasons)) & set(chosen(days, found))


@pytest.mark.parametrize(("code", "kept"), [(OK, True), (ESTIMATED, True), (MISSING, False), (BAD, False)])
def test_a_day_with_an_hour_missing_or_bad_is_passed_over(code: int, kept: bool):
    doubtful = date(2026, 9, 8)
    days = the_days_before(quality={doubtful: code})

    found = ten_of_ten(days, rest_days("NERC"))

    assert (doubtful in chosen(days, found)) == kept
    assert dropped(days, found) == ({} if kept else {doubtful: DayDropped.INVALID_DATA})


def test_days_older_than_the_last_chosen_one_are_not_listed_as_dropped():
    long_ago = EVENT_DAY - timedelta(days=40)
    days = the_days_before(excluded=[(long_ago, DayDropped.OUTAGE)])

    assert dropped(days, ten_of_ten(days, rest_days("NERC"))) == {}


def test_nine_similar_days_make_no_baseline():
    weekdays = weekdays_before(EVENT_DAY, 31)
    nine_left = [(day, DayDropped.EVENT) for day in weekdays[9:]]
    ten_left = [(day, DayDropped.EVENT) for day in weekdays[10:]]

    with_nine = ten_of_ten(the_days_before(excluded=nine_left), rest_days("NERC"))
    with_ten = ten_of_ten(the_days_before(excluded=ten_left), rest_days("NERC"))

    assert not with_nine.valid[0]
    assert not with_nine.too_few_days[0]  # excluded days hold data all the same
    assert with_ten.valid[0]


def test_four_weekend_days_are_not_enough_without_ten_days_of_data():
    saturday = date(2026, 9, 12)
    days_back = range(1, LOOKBACK_DAYS + 1)
    weekend = [date(2026, 9, 7), date(2026, 9, 6), date(2026, 9, 5), date(2026, 8, 30)]

    def with_data_on(days: Sequence[date]) -> Baselines:
        every = {saturday - timedelta(days=back) for back in days_back}
        return ten_of_ten(
            the_days_before(saturday, quality=dict.fromkeys(every - set(days), MISSING)), rest_days("NERC")
        )

    nine = with_data_on([*weekend, *(date(2026, 9, day) for day in (1, 2, 3, 4, 8))])
    ten = with_data_on([*weekend, *(date(2026, 9, day) for day in (1, 2, 3, 4, 8, 9))])

    assert (nine.valid[0], nine.too_few_days[0]) == (False, True)
    assert ten.valid[0]


def test_a_day_forty_six_days_ago_is_not_looked_at():
    assert not excluded_days(EVENT_DAY, 1, [(None, EVENT_DAY - timedelta(days=46), DayDropped.EVENT)]).any()
    assert excluded_days(EVENT_DAY, 1, [(None, EVENT_DAY - timedelta(days=45), DayDropped.EVENT)]).any()
    assert not excluded_days(EVENT_DAY, 1, [(None, EVENT_DAY, DayDropped.EVENT)]).any()


def test_of_two_reasons_for_a_day_the_same_one_is_told_in_any_order():
    day = EVENT_DAY - timedelta(days=1)
    both = [(None, day, DayDropped.EVENT), (None, day, DayDropped.OUTAGE)]

    first, second = excluded_days(EVENT_DAY, 1, both), excluded_days(EVENT_DAY, 1, both[::-1])

    assert DROPPED[first[0, 0]] == DROPPED[second[0, 0]] == DayDropped.EVENT


def test_one_site_does_not_change_the_days_of_another():
    days = the_days_before(sites=2, quality={date(2026, 9, 8): MISSING})

    found = ten_of_ten(days, rest_days("NERC"))

    assert chosen(days, found, site=1) == weekdays_before(EVENT_DAY, 10)
    assert chosen(days, found, site=0) != chosen(days, found, site=1)


def test_nerc_holidays_of_2026():
    assert nerc_holidays(2026) == (
        date(2026, 1, 1), date(2026, 5, 25), date(2026, 7, 4),
        date(2026, 9, 7), date(2026, 11, 26), date(2026, 12, 25),
    )  # fmt: skip


def test_a_sunday_holiday_moves_to_monday_and_a_saturday_one_stays():
    assert date(2021, 7, 5) in nerc_holidays(2021)  # the fourth was a Sunday
    assert date(2022, 12, 26) in nerc_holidays(2022)
    assert date(2023, 1, 2) in nerc_holidays(2023)
    assert date(2026, 7, 4) in nerc_holidays(2026)  # a Saturday
    assert date(2026, 7, 3) not in nerc_holidays(2026)


@pytest.mark.parametrize("year", range(2020, 2041))
def test_moving_holidays_fall_where_the_public_calendar_has_them(year: int):
    public = {name: day for day, name in holidays.country_holidays("US", years=year, observed=False).items()}

    ours = nerc_holidays(year)

    assert [ours[1], ours[3], ours[4]] == [
        public["Memorial Day"], public["Labor Day"], public["Thanksgiving Day"]
    ]  # fmt: skip


def test_a_method_or_calendar_that_is_not_built_is_named():
    with pytest.raises(UnknownBaseline, match="'guess' is not one of caiso_ten_of_ten, five_of_ten"):
        baseline_method("guess")
    with pytest.raises(UnknownCalendar, match="'ICS' is not one of NERC, none"):
        rest_days("ICS")


def test_without_a_calendar_only_weekends_are_rest_days():
    assert not rest_days("none")(date(2026, 9, 7))
    assert rest_days("none")(date(2026, 9, 6))


def test_a_clock_hour_keeps_its_local_time_across_the_change_of_clocks():
    six_in_the_evening = ClockHour(0, 18)

    summer = six_in_the_evening.on(date(2026, 10, 31), PACIFIC)
    winter = six_in_the_evening.on(date(2026, 11, 1), PACIFIC)

    assert summer is not None
    assert winter is not None
    assert summer.starts_at == datetime(2026, 11, 1, 1, tzinfo=UTC)
    assert winter.starts_at == datetime(2026, 11, 2, 2, tzinfo=UTC)


def test_an_hour_that_the_clock_skips_does_not_exist_on_that_day():
    assert ClockHour(0, 2).on(date(2026, 3, 8), PACIFIC) is None
    assert ClockHour(0, 2).on(date(2026, 3, 9), PACIFIC) is not None


def test_the_two_equal_hours_of_an_autumn_night_are_told_apart():
    night = date(2026, 11, 1)
    first, second = ClockHour(0, 1, 0).on(night, PACIFIC), ClockHour(0, 1, 1).on(night, PACIFIC)

    assert first is not None
    assert second is not None
    assert second.starts_at - first.starts_at == timedelta(hours=1)
    assert clock_hour_of(second, night, PACIFIC) == ClockHour(0, 1, 1)


def test_an_hour_after_midnight_belongs_to_the_next_day_of_each_similar_day():
    past_midnight = Interval(datetime(2026, 9, 10, 7, tzinfo=UTC), datetime(2026, 9, 10, 8, tzinfo=UTC))

    hour = clock_hour_of(past_midnight, EVENT_DAY, PACIFIC)

    assert hour == ClockHour(1, 0)
    on_the_eighth = hour.on(date(2026, 9, 8), PACIFIC)
    assert on_the_eighth is not None
    assert on_the_eighth.starts_at == datetime(2026, 9, 9, 7, tzinfo=UTC)


def test_a_zone_of_half_hours_has_its_clock_hours_at_its_own_full_hours():
    hour = ClockHour(0, 18).on(EVENT_DAY, ZoneInfo("Asia/Kolkata"))

    assert hour is not None
    assert hour.starts_at == datetime(2026, 9, 9, 12, 30, tzinfo=UTC)
