"""When an ended event is settled again."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.settling_times import SettlingTimes

ENDED = datetime(2026, 9, 10, 4, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def settled(times: SettlingTimes, at: datetime, took_s: int = 0) -> None:
    times.begin("ev")
    times.note_settled("ev", at, at + took_s * SECOND)


def test_an_event_is_settled_at_its_end_and_not_again_when_nothing_came() -> None:
    times = SettlingTimes()
    assert times.is_due("ev", ENDED, ENDED)

    settled(times, ENDED)

    assert not times.is_due("ev", ENDED, ENDED + 59 * MINUTE)
    assert times.is_due("ev", ENDED, ENDED + 60 * MINUTE)


@given(late=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=8)))
def test_the_last_home_is_settled_at_once_however_late(late: timedelta) -> None:
    times = SettlingTimes()
    settled(times, ENDED + late)

    times.note_answered("ev", ENDED + late, by_all=True)

    assert times.any_spoke(ENDED + late)
    assert times.is_due("ev", ENDED, ENDED + late)


def test_a_failed_settlement_is_made_again_at_the_next_chance() -> None:
    times = SettlingTimes()
    settled(times, ENDED)
    times.begin("ev")

    times.note_failed("ev")

    assert times.is_due("ev", ENDED, ENDED)


def test_who_speaks_while_an_event_is_being_settled_is_settled_afterwards() -> None:
    times = SettlingTimes()
    settled(times, ENDED)
    times.begin("ev")
    times.note_answered("ev", ENDED, by_all=True)

    times.note_settled("ev", ENDED + MINUTE, ENDED + MINUTE)

    assert times.is_due("ev", ENDED, ENDED + MINUTE)


def times_settled(*, awaited: bool) -> list[int]:
    """Return the minutes after its end at which an event is settled, when readings come all the time."""
    times, minutes = SettlingTimes(), []
    for minute in range(120):
        now = ENDED + minute * MINUTE
        times.note_readings(now)
        if awaited:
            times.note_answered("ev", now, by_all=False)
        if times.is_due("ev", ENDED, now):
            minutes.append(minute)
            settled(times, now)
    return minutes


def test_homes_that_come_one_by_one_are_settled_ever_more_seldom() -> None:
    assert times_settled(awaited=True) == [0, 1, 2, 3, 5, 8, 12, 18, 27, 41, 62, 93]


def test_readings_that_nothing_waits_for_are_settled_more_seldom_still() -> None:
    assert times_settled(awaited=False) == [0, 1, 4, 16, 64]


@given(late_s=st.integers(0, 8 * 86_400), took_s=st.integers(0, 15))
def test_the_last_home_that_speaks_is_settled_within_a_minute_though_others_never_do(
    late_s: int, took_s: int
) -> None:
    times = SettlingTimes()
    spoke_at = ENDED + late_s * SECOND
    settled(times, spoke_at - SECOND, took_s)
    times.note_readings(spoke_at)

    times.note_answered("ev", spoke_at, by_all=False)

    assert not times.is_due("ev", ENDED, spoke_at)
    assert not times.any_spoke(spoke_at + 19 * SECOND)
    assert times.any_spoke(spoke_at + (60 - took_s) * SECOND)
    assert times.is_due("ev", ENDED, spoke_at + (60 - took_s) * SECOND)


def test_homes_that_trickle_in_cost_no_more_than_a_third_of_the_time() -> None:
    times, began, took_s = SettlingTimes(), list[int](), 40
    settled(times, ENDED, took_s)
    for second in range(1, 3_600):
        now = ENDED + second * SECOND
        if second % 25 == 0:
            times.note_answered("ev", now, by_all=False)
        if times.any_spoke(now):
            began.append(second)
            settled(times, now, took_s)

    assert 20 <= len(began) <= 3_600 // (3 * took_s)


def test_whoever_speaks_of_an_event_that_was_never_settled_hurries_nobody() -> None:
    times = SettlingTimes()

    times.note_answered("ev", ENDED, by_all=True)

    assert not times.any_spoke(ENDED + MINUTE)
