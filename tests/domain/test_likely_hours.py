"""Which hours a settlement reads first: those of the latest similar days that can still count."""

from datetime import timedelta

from tests.domain.money_world import EVENING, EVENT_DAY, a_program, an_event, local, weekdays_before
from vpp.domain.baseline import DayDropped, excluded_days
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column
from vpp.domain.settled_event import likely_hours

NOBODY = excluded_days(EVENT_DAY, 3, [])


def evenings_of(*days) -> list[int]:
    return sorted(to_epoch(local(day, hour)) for day in days for hour in EVENING)


def test_the_event_and_the_ten_latest_similar_days_are_read_first():
    starts_s = likely_hours(an_event(), NOBODY, 10)

    assert starts_s.tolist() == evenings_of(EVENT_DAY, *weekdays_before(EVENT_DAY, 10))


def test_a_day_kept_out_of_everyones_baseline_is_not_read_and_the_day_before_it_is():
    weekdays = weekdays_before(EVENT_DAY, 11)
    an_outage = excluded_days(EVENT_DAY, 3, [(None, weekdays[4], DayDropped.OUTAGE)])

    starts_s = likely_hours(an_event(), an_outage, 10)

    assert starts_s.tolist() == evenings_of(EVENT_DAY, *weekdays[:4], *weekdays[5:])


def test_a_day_kept_out_of_most_homes_baselines_is_read_for_the_others_and_one_day_more():
    weekdays = weekdays_before(EVENT_DAY, 11)
    commanded = excluded_days(EVENT_DAY, 3, [(column([0, 2]), weekdays[0], DayDropped.EVENT)])

    starts_s = likely_hours(an_event(), commanded, 10)

    assert starts_s.tolist() == evenings_of(EVENT_DAY, *weekdays)


def test_on_a_day_of_rest_days_of_any_kind_are_read_too_because_they_show_that_there_is_data():
    sunday = EVENT_DAY - timedelta(days=3)
    program = a_program()
    event = an_event(local(sunday, 18), local(sunday, 21), program)

    starts_s = likely_hours(event, NOBODY, 10)

    any_kind = [sunday - timedelta(days=back) for back in range(11)]
    at_rest = [day for back in range(36) if (day := sunday - timedelta(days=back)).weekday() >= 5]
    assert starts_s.tolist() == evenings_of(*{*any_kind, *at_rest[:11]})
