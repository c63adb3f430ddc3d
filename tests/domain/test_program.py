"""Seasons, windows, lengths and hours of a program, in its own zone."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.grid_world import local, program, terms
from vpp.domain.interval import Interval, union
from vpp.domain.program import Departure, Program, seconds_within

DAY = date(2026, 9, 9)


def evening(starts: tuple[int, int], ends: tuple[int, int], day: date = DAY) -> Interval:
    """Return a stretch of an evening in California."""
    return Interval(local(day, *starts), local(day, *ends))


def test_evening_in_california_is_the_next_day_in_utc_and_keeps_its_date() -> None:
    event = evening((18, 0), (21, 0))

    assert event.starts_at == datetime(2026, 9, 10, 1, tzinfo=UTC)
    assert program().local_day(event) == date(2026, 9, 9)


def test_season_opens_on_the_first_of_may_and_closes_after_the_last_of_october() -> None:
    season = program().season_around(DAY)

    assert season == Interval(datetime(2026, 5, 1, 7, tzinfo=UTC), datetime(2026, 11, 1, 7, tzinfo=UTC))


@pytest.mark.parametrize(
    ("event", "departures"),
    [
        (evening((16, 0), (19, 0)), ()),
        (evening((18, 0), (21, 0)), ()),
        (evening((18, 0), (19, 0)), ()),
        (evening((20, 0), (22, 0)), (Departure.OUT_OF_WINDOW,)),
        (evening((20, 30), (21, 30)), (Departure.OUT_OF_WINDOW,)),
        (evening((15, 59), (18, 0)), (Departure.OUT_OF_WINDOW,)),
        (evening((18, 0), (18, 59)), (Departure.TOO_SHORT,)),
        (evening((16, 0), (19, 1)), (Departure.TOO_LONG,)),
        (evening((16, 0), (21, 0)), (Departure.TOO_LONG,)),
        (evening((18, 0), (20, 0), date(2026, 4, 30)), (Departure.OUT_OF_SEASON,)),
        (evening((16, 0), (17, 0), date(2026, 5, 1)), ()),
        (evening((18, 0), (21, 0), date(2026, 10, 31)), ()),
        (evening((18, 0), (20, 0), date(2026, 11, 1)), (Departure.OUT_OF_SEASON,)),
        (evening((18, 0), (20, 0), date(2021, 9, 9)), (Departure.NO_TERMS,)),
        (
            Interval(local(date(2026, 12, 1), 9), local(date(2026, 12, 2), 9)),
            (Departure.OUT_OF_SEASON, Departure.OUT_OF_WINDOW, Departure.TOO_LONG),
        ),
    ],
)
def test_event_is_measured_against_the_terms_of_its_local_day(
    event: Interval, departures: tuple[Departure, ...]
) -> None:
    assert program().departures(event) == departures


def test_last_second_of_the_season_ends_at_four_in_utc() -> None:
    event = evening((18, 0), (21, 0), date(2026, 10, 31))

    assert event.ends_at == datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert program().departures(event) == ()


def test_five_hours_were_allowed_before_2024() -> None:
    editions = terms(until=date(2024, 1, 1), longest_h=5), terms(first=date(2024, 1, 1))

    assert program(*editions).departures(evening((16, 0), (21, 0), date(2023, 9, 6))) == ()
    assert program(*editions).departures(evening((16, 0), (21, 0), date(2024, 9, 6))) == (Departure.TOO_LONG,)


def test_season_cap_counts_overlapping_hours_once() -> None:
    elsewhere = [
        evening((18, 0), (20, 0)),
        evening((18, 0), (21, 0)),
        evening((17, 0), (18, 0), date(2025, 9, 9)),
    ]
    event = evening((17, 0), (20, 0), date(2026, 9, 10))

    assert program(terms(cap_h=6)).departures(event, elsewhere) == ()
    assert program(terms(cap_h=5)).departures(event, elsewhere) == (Departure.SEASON_CAP,)
    assert program(terms(cap_h=3)).departures(event, [evening((17, 0), (20, 0), date(2026, 9, 10))]) == ()


def test_gap_belongs_to_an_events_length_and_uses_none_of_the_season() -> None:
    gappy = evening((16, 0), (17, 0)), evening((18, 0), (20, 0))
    span = evening((16, 0), (20, 0))

    assert program(terms(cap_h=3)).departures(span, stretches=gappy) == (Departure.TOO_LONG,)
    assert program(terms(cap_h=2)).departures(span, stretches=gappy) == (
        Departure.TOO_LONG,
        Departure.SEASON_CAP,
    )


def with_window(opens: time, closes: time, first: tuple[int, int], last: tuple[int, int]) -> Program:
    """Return a program with another window and season."""
    return program(
        replace(terms(), window_opens=opens, window_closes=closes, season_first=first, season_last=last)
    )


def test_winter_season_passes_new_year() -> None:
    winter = with_window(time(16), time(21), (11, 1), (3, 31))

    season = Interval(local(date(2026, 11, 1), 0), local(date(2027, 4, 1), 0))
    assert winter.season_around(date(2026, 12, 31)) == season
    assert winter.season_around(date(2027, 3, 31)) == season
    assert winter.season_around(date(2027, 4, 1)) is None
    assert winter.season_around(date(2021, 12, 1)) is None


def test_window_may_pass_midnight_or_never_close() -> None:
    night = with_window(time(22), time(2), (1, 1), (12, 31))
    always = with_window(time(0), time(0), (1, 1), (12, 31))
    event = Interval(local(DAY, 23), local(DAY + timedelta(days=1), 1))

    assert night.departures(event) == ()
    assert night.departures(evening((18, 0), (20, 0))) == (Departure.OUT_OF_WINDOW,)
    assert always.departures(event) == ()


INTERVALS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 20)).map(
        lambda pair: Interval(
            local(DAY, 12) + timedelta(minutes=pair[0]), local(DAY, 12) + timedelta(minutes=pair[0] + pair[1])
        )
    )
)


@given(INTERVALS)
def test_union_covers_the_same_minutes_in_order_and_apart(intervals: list[Interval]) -> None:
    joined = union(intervals)

    minutes = {
        m for m in range(130) if any(i.contains(local(DAY, 12) + timedelta(minutes=m)) for i in intervals)
    }
    assert seconds_within(intervals, evening((12, 0), (15, 0))) == len(minutes) * 60
    assert list(joined) == sorted(joined)
    assert all(one.ends_at < other.starts_at for one, other in pairwise(joined))
