"""Which of several events held a home: every instant of a claim is settled, and none of them twice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.command import Action, DispatchTick, Order
from vpp.domain.holding import Course, held_elsewhere
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.quantities import column
from vpp.domain.site_earnings import NEVER_OPTED_OUT

SIX = datetime(2026, 9, 10, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENING = (0, 180)

Told = tuple[int, int, int]  # tick number; minutes after six at which a home is to begin; the home


def at(minutes: int) -> datetime:
    return SIX + minutes * MINUTE


def between(*minutes: int) -> Interval:
    return Interval(at(minutes[0]), at(minutes[1]))


def a_tick(number: int, begins: int, *site_nos: int) -> DispatchTick:
    order = Order(
        event_id="ev", revision=1, action=Action.DISCHARGE, site_no=column(site_nos), starts_at=at(begins),
        expires_at=at(begins + 15), event_ends_at=at(180), ramp_s=30, spread_s=60, test=False,
    )  # fmt: skip
    return DispatchTick(number, 1, at(begins), (order,))


def a_course(
    *told: Told, on: Sequence[tuple[int, int]] = (EVENING,), opted_out: dict[int, int] | None = None
) -> Course:
    outs = opted_out or {}
    return Course(
        on=tuple(between(*each) for each in on),
        ticks=tuple(a_tick(number, begins, site_no) for number, begins, site_no in told),
        opted_out_s=column(
            to_epoch(at(outs[site_no])) if site_no in outs else NEVER_OPTED_OUT for site_no in range(3)
        ),
    )


def test_home_serves_the_event_that_told_it_last() -> None:
    low, high = a_course((1, 0, 0)), a_course((2, 60, 0), on=[(30, 120)])

    assert held_elsewhere(low, [high]) == {0: (between(60, 120),)}
    assert held_elsewhere(high, [low]) == {0: (between(30, 60),)}


def test_home_whose_owner_left_one_event_serves_the_other_from_then_on() -> None:
    high, low = a_course((1, 0, 0), opted_out={0: 60}), a_course((2, 62, 0))

    assert held_elsewhere(high, [low]) == {}
    assert held_elsewhere(low, [high]) == {0: (between(0, 60),)}


def test_home_that_an_event_takes_back_is_the_others_only_meanwhile() -> None:
    high, low = a_course((1, 0, 0), (3, 90, 0)), a_course((2, 60, 0))

    assert held_elsewhere(high, [low]) == {0: (between(60, 90),)}
    assert held_elsewhere(low, [high]) == {0: (between(0, 60), between(90, 180))}


def test_home_serves_the_other_event_in_the_gap_of_one() -> None:
    gappy, steady = a_course((1, 0, 0), (3, 120, 0), on=[(0, 60), (120, 180)]), a_course((2, 60, 0))

    assert held_elsewhere(gappy, [steady]) == {}
    assert held_elsewhere(steady, [gappy]) == {0: (between(0, 60), between(120, 180))}


def test_before_any_event_had_begun_with_a_home_the_first_to_begin_has_it() -> None:
    early, late = a_course((1, 30, 0)), a_course((2, 60, 0))

    assert held_elsewhere(early, [late]) == {0: (between(60, 180),)}
    assert held_elsewhere(late, [early]) == {0: (between(0, 60),)}


def test_newer_command_counts_where_an_older_one_was_still_to_begin() -> None:
    coming, running = a_course((1, 30, 0), on=[(30, 180)]), a_course((2, 29, 0))

    assert held_elsewhere(coming, [running]) == {0: (between(30, 180),)}
    assert held_elsewhere(running, [coming]) == {}


def test_home_of_one_event_only_is_held_by_it_throughout() -> None:
    mine, other = a_course((1, 0, 0), (3, 0, 2)), a_course((2, 0, 1))

    assert held_elsewhere(mine, [other]) == held_elsewhere(mine, []) == {}


def minutes_settled(course: Course, others: Sequence[Course], site_no: int) -> list[int]:
    """Return the minutes after six that a course settles of a home, beside those that overlap it."""
    beside = [each for each in others if any(one.overlap(two) for one in each.on for two in course.on)]
    taken = held_elsewhere(course, beside).get(site_no, ())
    return [
        minute
        for minute in minutes_claimed(course, site_no)
        if not any(each.contains(at(minute)) for each in taken)
    ]


def minutes_claimed(course: Course, site_no: int) -> list[int]:
    if not any(site_no in tick.orders[0].site_no for tick in course.ticks):
        return []
    return [
        minute
        for minute in range(60)
        if any(each.contains(at(minute)) for each in course.on)
        and to_epoch(at(minute)) < course.opted_out_s[site_no]
    ]


@st.composite
def some_courses(draw: st.DrawFn) -> list[Course]:
    events = draw(st.integers(2, 4))
    minute = st.integers(0, 59)
    told: list[list[Told]] = [[] for _ in range(events)]
    issued = 0
    for number in range(1, draw(st.integers(1, 12)) + 1):
        issued += draw(st.integers(0, 9))
        begins = issued + draw(st.sampled_from([0, 0, 0, 2, 5]))
        told[draw(st.integers(0, events - 1))].append((number, begins, draw(st.integers(0, 2))))
    courses = []
    for place in range(events):
        edges = sorted(draw(st.sets(minute, min_size=2, max_size=4)))
        on = list(zip(edges[::2], edges[1::2], strict=False))
        courses.append(
            a_course(*told[place], on=on, opted_out=draw(st.dictionaries(st.integers(0, 2), minute)))
        )
    return courses


@given(some_courses())
def test_each_instant_of_a_claim_is_settled_by_exactly_one_event(courses: list[Course]) -> None:
    for site_no in range(3):
        settled = sorted(
            minute
            for place, course in enumerate(courses)
            for minute in minutes_settled(course, courses[:place] + courses[place + 1 :], site_no)
        )

        assert settled == sorted({minute for each in courses for minute in minutes_claimed(each, site_no)})
