"""What an event asks at each instant, whom it names, and which event holds a shared site."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.grid_world import (
    COMMIT,
    HOUR,
    START,
    course,
    granted,
    history,
    program,
    source,
    version,
)
from vpp.domain.demands import told_ceiling
from vpp.domain.grid_event import (
    EventHistory,
    GrantKind,
    GridEvent,
    Step,
    authorized_power,
    authorized_steps,
    is_test,
    precedence_key,
    steps_in_force,
)
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts
from vpp.domain.season_hours import counted_intervals, season_seconds
from vpp.domain.targets import Targets, resolve_targets

OUT = ("out_of_window",)
MINUTE = timedelta(minutes=1)


def at(hours: float) -> timedelta:
    """Return so many hours, to be added to START."""
    return timedelta(hours=hours)


def test_event_asks_for_its_power_from_start_to_end() -> None:
    assert course(steps_in_force(history(version()))) == [(0, 2, 5_000_000)]


def test_nothing_is_asked_before_the_first_commit() -> None:
    late = history(version(committed_at=START + at(0.5)))

    assert course(steps_in_force(late)) == [(0.5, 2, 5_000_000)]


def test_an_event_that_was_dispatched_as_a_test_stays_one_for_good() -> None:
    first = version(test=True)
    for committed_at in (START - MINUTE, START, START + HOUR, START + at(3)):
        assert is_test(history(first, version(2, committed_at=committed_at)))
    assert not is_test(history(first, version(2, committed_at=START - 5 * MINUTE)))  # no command had left


def test_an_event_that_began_for_pay_is_never_made_a_test() -> None:
    assert not is_test(history(version(), version(2, test=True, committed_at=START + MINUTE)))
    assert is_test(history(version(), version(2, test=True, committed_at=START - 5 * MINUTE)))
    at_once = version(committed_at=START - MINUTE)  # its commands left at the commit
    assert not is_test(history(at_once, version(2, test=True, committed_at=START - MINUTE / 2)))


def test_a_version_that_was_never_let_through_makes_no_test() -> None:
    waiting = version(test=True, out_of_program=OUT)
    paid = version(2, committed_at=START + MINUTE)
    forced = granted(GrantKind.FORCE, COMMIT + MINUTE)

    assert not is_test(history(waiting, paid))
    assert is_test(history(waiting, paid, grants=(forced,)))
    assert is_test(history(waiting))  # what it says, as long as nothing began


def test_an_event_cancelled_before_it_began_may_come_back_as_another_kind() -> None:
    cancel = version(2, test=True, committed_at=START - HOUR / 2, cancelled=True)

    assert not is_test(history(version(test=True), cancel, version(3, committed_at=START + MINUTE)))


def test_event_that_ended_before_its_commit_was_never_on() -> None:
    assert steps_in_force(history(version(committed_at=START + at(3)))) == ()


def test_gap_and_announcement_ask_for_nothing() -> None:
    steps = (
        Step(Interval(START, START + at(1)), Watts(1_000)),
        Step(Interval(START + at(1), START + at(1.5)), Watts(0)),
        Step(Interval(START + at(2), START + at(3)), None),
    )
    gappy = history(version(steps=steps))

    assert course(steps_in_force(gappy)) == [(0, 1, 1_000), (2, 3, None)]


def test_cancel_ends_the_event_at_its_commit() -> None:
    cancelled = history(version(), version(2, cancelled=True, committed_at=START + at(1) + 37 * MINUTE))

    (step,) = steps_in_force(cancelled)
    assert step.interval == Interval(START, START + at(1) + 37 * MINUTE)


def test_cancel_before_the_start_means_there_was_no_event() -> None:
    cancelled = history(version(), version(2, cancelled=True, committed_at=START - MINUTE))

    assert steps_in_force(cancelled) == ()


def test_newer_version_takes_over_at_its_commit() -> None:
    changed = history(version(), version(2, committed_at=START + at(1), hours=3, power=2_000_000))

    assert course(steps_in_force(changed)) == [(0, 1, 5_000_000), (1, 3, 2_000_000)]


def test_signal_out_of_program_asks_for_nothing_until_it_is_forced() -> None:
    flagged = version(out_of_program=OUT)

    forced = history(flagged, grants=(granted(GrantKind.FORCE, START + at(0.5)),))

    assert steps_in_force(history(flagged)) == ()
    assert course(steps_in_force(forced)) == [(0.5, 2, 5_000_000)]


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ({"power": 9_000_000, "hours": 5}, [(0, 2, 5_000_000)]),
        ({"power": 1_000_000, "hours": 5}, [(0, 1, 5_000_000), (1, 2, 1_000_000)]),
        ({"power": None, "hours": 1.5}, [(0, 1.5, 5_000_000)]),
    ],
)
def test_version_that_waits_leaves_the_smaller_power_and_the_earlier_end(
    waiting: dict[str, float], expected: list[tuple[float, float, int]]
) -> None:
    newer = version(2, committed_at=START + at(1), out_of_program=OUT, **waiting)

    assert course(steps_in_force(history(version(), newer))) == expected


def test_version_that_waited_takes_over_when_it_is_forced() -> None:
    newer = version(2, committed_at=START + at(0.5), out_of_program=OUT, power=9_000_000, hours=5)
    forced = history(version(), newer, grants=(granted(GrantKind.FORCE, START + at(1), number=2),))

    assert course(steps_in_force(forced)) == [(0, 1, 5_000_000), (1, 5, 9_000_000)]


def test_cancel_wins_over_a_version_that_waits() -> None:
    newer = version(2, committed_at=START + at(0.5), out_of_program=OUT)
    cancel = version(3, cancelled=True, committed_at=START + at(1))

    assert course(steps_in_force(history(version(), newer, cancel))) == [(0, 1, 5_000_000)]


def authorized(event: EventHistory, max_power_w: int) -> list[tuple[float, float, int | None]]:
    """Return what one event may use when its source has so many watts without approval."""
    return course(authorized_steps([event], max_power_w=max_power_w)["ev-1"])


def test_source_may_ask_for_its_power_and_the_rest_waits_for_approval() -> None:
    asked = version(power=5_000_000)
    approved = history(asked, grants=(granted(GrantKind.APPROVE, START + at(1)),))

    assert authorized(history(asked), 0) == []
    assert authorized(history(asked), 2_000_000) == [(0, 2, 2_000_000)]
    assert authorized(history(asked), 5_000_000) == [(0, 2, 5_000_000)]
    assert authorized(approved, 2_000_000) == [(0, 1, 2_000_000), (1, 2, 5_000_000)]


def test_event_without_a_setpoint_may_use_its_source_s_power_until_it_is_approved() -> None:
    everything = version(power=None)
    approved = history(everything, grants=(granted(GrantKind.APPROVE, COMMIT),))

    assert authorized(history(everything), 2_000_000) == [(0, 2, 2_000_000)]
    assert authorized(approved, 2_000_000) == [(0, 2, None)]


def test_approved_power_goes_on_under_a_newer_version_that_waits() -> None:
    leave = (granted(GrantKind.APPROVE, COMMIT),)
    more = history(version(), version(2, committed_at=START + at(1), power=9_000_000), grants=leave)
    less = history(version(), version(2, committed_at=START + at(1), power=3_000_000), grants=leave)

    assert authorized(more, 1_000_000) == [(0, 2, 5_000_000)]
    assert authorized(less, 1_000_000) == [(0, 1, 5_000_000), (1, 2, 3_000_000)]


def test_event_that_nothing_authorizes_begins_at_its_approval() -> None:
    event = history(version(), grants=(granted(GrantKind.APPROVE, START + at(0.25)),))

    allowed = authorized_steps([event], max_power_w=0)["ev-1"]

    assert [step.interval for step in allowed] == [Interval(START + at(0.25), START + at(2))]


def test_events_of_one_source_share_its_power_the_most_important_first() -> None:
    urgent = history(version(event_id="urgent", priority=0, power=3_000_000))
    minor = history(version(event_id="minor", priority=5, power=3_000_000, hours=3))

    allowed = authorized_steps([minor, urgent], max_power_w=4_000_000)

    assert course(allowed["urgent"]) == [(0, 2, 3_000_000)]
    assert course(allowed["minor"]) == [(0, 2, 1_000_000), (2, 3, 3_000_000)]


def test_among_equals_what_was_said_first_keeps_its_power_and_all_there_is_takes_what_is_left() -> None:
    later = COMMIT + MINUTE
    first = history(version(event_id="first", power=3_000_000))
    second = history(version(event_id="second", power=3_000_000, committed_at=later, modified_at=later))
    for_all = history(version(event_id="all", power=None))
    again, more = (
        history(*first.versions, version(2, event_id="first", power=power, committed_at=later + MINUTE))
        for power in (3_000_000, 4_000_000)
    )

    said_again = authorized_steps([again, second], max_power_w=4_000_000)
    raised = authorized_steps([more, second], max_power_w=4_000_000)
    two = authorized_steps([first, second], max_power_w=4_000_000)
    beside_all = authorized_steps([for_all, second], max_power_w=4_000_000)

    assert course(two["first"]) == [(0, 2, 3_000_000)]
    assert course(two["second"]) == [(0, 2, 1_000_000)]
    assert course(said_again["first"]) == [(0, 2, 3_000_000)]
    assert course(raised["second"]) == [(0, 2, 3_000_000)]
    assert course(beside_all["second"]) == [(0, 2, 3_000_000)]
    assert course(beside_all["all"]) == [(0, 2, 1_000_000)]


@pytest.mark.parametrize(("power", "left"), [(3_000_000, 1_000_000), (None, 2_500_000)])
def test_setpoint_uses_its_source_s_power_and_without_one_the_plan_does(power: int | None, left: int) -> None:
    urgent = history(version(event_id="urgent", priority=0, power=power))
    minor = history(version(event_id="minor", priority=5, power=3_000_000))
    planned_w, sources = {"urgent": 1_500_000}, {"caiso": source(max_power_w=4_000_000)}

    allowed = authorized_steps([minor, urgent], max_power_w=4_000_000, planned_w=planned_w)

    assert course(allowed["minor"]) == [(0, 2, left)]
    assert authorized_power([minor, urgent], sources, START, planned_w)["minor"] == left


def test_version_that_waits_to_be_forced_takes_no_power_from_a_more_important_event() -> None:
    first = history(version(event_id="first", priority=1, power=3_000_000))
    flagged = version(2, event_id="other", priority=0, power=3_000_000, out_of_program=OUT)
    other = history(version(event_id="other", priority=5, power=3_000_000), flagged)

    allowed = authorized_steps([other, first], max_power_w=4_000_000)

    assert course(allowed["first"]) == [(0, 2, 3_000_000)]
    assert course(allowed["other"]) == [(0, 2, 1_000_000)]


def test_version_that_waits_and_begins_later_ends_what_runs_at_the_earlier_end_only() -> None:
    later = version(2, committed_at=START + at(0.5), starts_at=START + at(1), hours=0.5, out_of_program=OUT)
    unborn = version(2, committed_at=COMMIT + MINUTE, starts_at=START + at(1), hours=3, out_of_program=OUT)

    assert course(steps_in_force(history(version(), later))) == [(0, 1.5, 5_000_000)]
    assert course(steps_in_force(history(version(), unborn))) == [(1, 2, 5_000_000)]


def test_power_of_an_event_that_starts_soon_is_that_of_its_start() -> None:
    soon = history(version(power=3_000_000))
    sources = {"caiso": source(max_power_w=2_000_000)}

    assert authorized_power([soon], sources, START - MINUTE) == {"ev-1": 2_000_000}
    assert authorized_power([soon], sources, START + at(1)) == {"ev-1": 2_000_000}
    assert authorized_power([soon], sources, START + at(2)) == {"ev-1": 0}
    assert authorized_power([soon], {}, START) == {"ev-1": 0}


POWERS = st.one_of(st.none(), st.integers(0, 5))
VERSIONS = st.lists(
    st.tuples(POWERS, st.integers(-4, 4), st.integers(1, 6), st.integers(0, 3), st.booleans(), st.booleans()),
    min_size=1,
    max_size=4,
)


@st.composite
def histories(draw: st.DrawFn, event_id: str = "ev-1") -> EventHistory:
    """Return any event with versions, cancels, flags and leave."""
    versions: list[GridEvent] = []
    commit = COMMIT
    for power, start, hours, wait, cancelled, flagged in draw(VERSIONS):
        commit += timedelta(hours=wait)
        versions.append(
            version(
                len(versions) + 1,
                event_id=event_id,
                committed_at=commit,
                starts_at=START + timedelta(hours=start),
                hours=hours,
                power=power,
                cancelled=cancelled and bool(versions),
                out_of_program=OUT if flagged else (),
            )
        )
    kinds = st.sampled_from(GrantKind)
    grants = draw(st.lists(st.tuples(kinds, st.integers(1, 4), st.integers(-2, 6)), max_size=4))
    leave = tuple(granted(kind, START + timedelta(hours=h), number=number) for kind, number, h in grants)
    return history(*versions, grants=leave)


@given(histories(), histories(event_id="ev-2"), st.integers(0, 8))
def test_without_approval_a_source_s_events_never_pass_its_power(
    one: EventHistory, other: EventHistory, max_power_w: int
) -> None:
    without_leave = [history(*each.versions) for each in (one, other)]

    allowed = authorized_steps(without_leave, max_power_w=max_power_w)

    for minute in range(-6 * 60, 12 * 60, 30):
        instant = START + timedelta(minutes=minute)
        now = [step.power for steps in allowed.values() for step in steps if step.interval.contains(instant)]
        assert None not in now
        assert sum(power or 0 for power in now) <= max_power_w


@given(histories(), st.integers(0, 8))
def test_nothing_is_authorized_that_is_not_asked(event: EventHistory, max_power_w: int) -> None:
    asked = steps_in_force(event)
    allowed = authorized_steps([event], max_power_w=max_power_w)["ev-1"]

    for step in allowed:
        within = [each for each in asked if each.interval.overlap(step.interval) is not None]
        assert within
        for each in within:
            assert each.power is None or (step.power is not None and step.power <= each.power)


@given(histories())
def test_nothing_is_asked_outside_any_version_or_before_the_first_commit(event: EventHistory) -> None:
    for step in steps_in_force(event):
        assert step.interval.starts_at >= event.versions[0].committed_at
        assert (
            any(
                each.interval is not None and each.interval.overlap(step.interval) == step.interval
                for each in event.versions
            )
            or len(event.versions) > 1
        )
        assert step.power != 0


@given(histories(), st.integers(0, 12))
def test_what_was_asked_never_changes_by_what_is_committed_later(event: EventHistory, hours: int) -> None:
    now = COMMIT + timedelta(hours=hours)
    known = tuple(each for each in event.versions if each.committed_at <= now)
    leave = tuple(grant for grant in event.grants if grant.granted_at <= now)

    def until_now(steps: tuple[Step, ...]) -> list[tuple[Interval, Watts | None]]:
        cut = [(step.interval.overlap(Interval(COMMIT - HOUR, now)), step.power) for step in steps]
        return [(part, power) for part, power in cut if part is not None]

    assert until_now(steps_in_force(event)) == until_now(steps_in_force(EventHistory(known, leave)))


def test_season_counts_the_union_of_events_that_were_on() -> None:
    sources = {"caiso": source()}
    first = history(version(event_id="a"))
    overlapping = history(version(event_id="b", starts_at=START + at(1)))
    flagged = history(version(event_id="c", starts_at=START + at(5), out_of_program=OUT))
    cancelled = history(
        version(event_id="d", starts_at=START + at(24)),
        version(2, event_id="d", cancelled=True, committed_at=START + at(25)),
    )
    last_year = history(
        version(event_id="e", starts_at=START - timedelta(days=365), committed_at=START - timedelta(days=366))
    )
    everything = [first, overlapping, flagged, cancelled, last_year]

    assert season_seconds(everything, sources, program(), START) == 4 * 3_600
    winter = START - timedelta(days=250)
    assert season_seconds(everything, sources, program(), winter) == season_seconds(
        [last_year], sources, program(), START - timedelta(days=365)
    )
    assert season_seconds([first], sources, program(), winter) == 0
    assert season_seconds([first], {}, program(), START) == 0
    assert counted_intervals(everything, sources, "another") == ()


def test_a_gap_in_an_event_uses_none_of_the_seasons_hours() -> None:
    steps = (
        Step(Interval(START, START + at(1)), Watts(1_000)),
        Step(Interval(START + at(1), START + at(2)), Watts(0)),
        Step(Interval(START + at(2), START + at(3)), None),
    )

    assert season_seconds([history(version(steps=steps))], {"caiso": source()}, program(), START) == 2 * 3_600


def test_a_real_event_then_the_lowest_priority_number_the_later_modification_and_the_id_holds_a_site() -> (
    None
):
    events = [
        version(event_id="none", priority=None, modified_at=START),
        version(event_id="b", priority=1),
        version(event_id="a", priority=1),
        version(event_id="newer", priority=1, modified_at=COMMIT + MINUTE),
        version(event_id="highest", priority=0),
        version(event_id="test", priority=0, modified_at=COMMIT + MINUTE, test=True),
    ]

    assert [
        event.event_id for event in sorted(events, key=lambda each: precedence_key(each, test=each.test))
    ] == [
        "highest",
        "newer",
        "a",
        "b",
        "none",
        "test",
    ]


def resolve(*targets: str) -> Targets:
    """Return targets among a few known words; ``kern`` is a county and a feeder."""
    return resolve_targets(
        targets, utilities=("PGE",), groups=("a4", "pge"), counties=("Kern", "Yolo"), feeders=("f-1", "kern")
    )


def test_target_is_looked_up_as_utility_group_county_feeder_without_regard_to_case() -> None:
    assert resolve("pge", "A4", "KERN", "F-1") == Targets(("pge",), ("a4",), ("kern",), ("f-1",))
    assert resolve("yolo", "Kern", "yolo") == Targets(counties=("yolo", "kern"))


def test_site_matches_one_value_of_every_kind_named() -> None:
    named = resolve("pge", "kern", "yolo")

    assert named.selects(utility="PGE", groups=(), county="Yolo", feeder="f-9")
    assert not named.selects(utility="SCE", groups=(), county="Yolo", feeder="f-9")
    assert not named.selects(utility="PGE", groups=(), county="Napa", feeder="f-9")
    assert resolve("a4").selects(utility="SCE", groups=("A4",), county="", feeder="")
    assert resolve().selects(utility="SCE", groups=(), county="", feeder="")


def test_target_of_no_kind_selects_nobody() -> None:
    misspelt = resolve("pge", "Krn")

    assert misspelt.unknown == ("Krn",)
    assert not misspelt.selects(utility="pge", groups=("a4",), county="kern", feeder="f-1")


def test_what_homes_go_on_with_for_one_event_is_not_there_for_another_of_its_source() -> None:
    events = [history(version(event_id="ev-1")), history(version(event_id="ev-2"))]
    limited = {"caiso": source(max_power_w=40_000)}

    assert told_ceiling(events, limited, "ev-1", {}) == 44_000
    assert told_ceiling(events, limited, "ev-1", {"ev-1": 9_000, "ev-2": 2_300}) == 41_700
    assert told_ceiling(events, limited, "ev-1", {"ev-2": 50_000}) == 0
    assert told_ceiling(events, {}, "ev-1", {}) == 0


def test_where_a_person_approved_an_event_its_sources_limit_binds_none() -> None:
    approved = history(version(event_id="ev-1"), grants=(granted(GrantKind.APPROVE, COMMIT),))

    assert told_ceiling([approved], {"caiso": source(max_power_w=40_000)}, "ev-1", {}) > 10**12
