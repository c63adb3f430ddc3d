"""Ramp caps: no rise and no scheduled end changes the fleet's power faster than allowed."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from vpp.domain.brake import UNBOUNDED_W, Allowance, Brake, RampCaps, RampLog, brake_for
from vpp.domain.dispatch_plan import MIN_COMMAND_W
from vpp.domain.quantities import IntColumn, column

NO_ZONES = column([])
NOBODY = np.zeros(1, dtype=np.bool_)
MINUTE_CAPS = RampCaps(120_000)


def brake_of(caps: RampCaps, *stretches: tuple[int | None, int], rise_w: int = UNBOUNDED_W) -> Brake:
    """Return the brake of an event that runs now, alone."""
    zones = np.full(len(caps.zone_w_per_min), UNBOUNDED_W)
    return brake_for(
        caps, Allowance(rise_w, zones, zones), stretches=stretches, starts_in_s=0, planned_w=column([0]),
        silent=NOBODY, zone_no=column([0]), events=1,
    )  # fmt: skip


def test_without_caps_nothing_is_slowed() -> None:
    assert not RampCaps().slows
    assert not brake_of(RampCaps(), (5_000, 3_600)).slows


def test_quarter_of_a_minutes_change_is_let_through_in_a_quarter_of_a_minute() -> None:
    log = RampLog()

    first = log.allowance(MINUTE_CAPS, 1_000)
    log.note(column([30_000]), column([0]), MINUTE_CAPS, 1_000)
    at_once = log.allowance(MINUTE_CAPS, 1_005)
    later = log.allowance(MINUTE_CAPS, 1_015)

    assert (first.rise_w, at_once.rise_w, later.rise_w) == (30_000, 0, 30_000)


def test_zone_may_fall_by_its_part_of_a_minute_and_in_a_minute_by_no_more_than_its_cap() -> None:
    caps, log, zone_no = RampCaps(zone_w_per_min=column([60_000, UNBOUNDED_W])), RampLog(), column([0, 1])
    allowed_w = []

    for at_s in (1_000, 1_015, 1_030, 1_045, 1_060):
        allowed_w.append(int(log.allowance(caps, at_s).zone_fall_w[0]))
        log.note(column([-allowed_w[-1], -90_000]), zone_no, caps, at_s)

    # A home that is cut under 500 W ends whole: a kilowatt of each minute is kept for that.
    assert allowed_w == [15_000, 15_000, 15_000, 14_000, 15_000]


def test_after_a_restart_a_zone_falls_as_slowly_as_if_it_had_just_fallen_by_its_cap() -> None:
    caps = RampCaps(zone_w_per_min=column([60_000]))

    assert RampLog(since_s=1_000).allowance(caps, 1_000).zone_fall_w.tolist() == [0]
    assert RampLog(since_s=1_000).allowance(caps, 1_015).zone_fall_w.tolist() == [14_750]


def test_what_a_more_important_event_changes_is_not_left_for_the_next() -> None:
    before = Allowance(30_000, column([20_000, 20_000]), column([15_000, 15_000]))

    left = before.less(column([4_000, -3_000, 1_000]), column([0, 0, 1]))

    assert left.rise_w == 25_000
    assert left.zone_rise_w.tolist() == [16_000, 19_000]
    assert left.zone_fall_w.tolist() == [12_000, 15_000]


def test_restart_lets_nothing_rise_before_one_pace_has_passed() -> None:
    log = RampLog(since_s=1_000)

    assert log.allowance(MINUTE_CAPS, 1_010).rise_w == 0
    assert log.allowance(MINUTE_CAPS, 1_015).rise_w == 30_000


def test_event_may_ask_no_more_than_can_be_wound_down_by_its_end() -> None:
    early = brake_of(MINUTE_CAPS, (900_000, 7_200))
    late = brake_of(MINUTE_CAPS, (900_000, 135))
    last = brake_of(MINUTE_CAPS, (900_000, 15))

    assert early.ceiling_w > 900_000
    assert late.ceiling_w == 239_000
    assert last.ceiling_w == 0


def test_fall_to_a_smaller_power_is_wound_down_too() -> None:
    brake = brake_of(MINUTE_CAPS, (900_000, 75), (500_000, 3_600))

    assert brake.ceiling_w == 619_500


def test_two_events_that_may_end_together_share_the_cap() -> None:
    brake = brake_for(
        MINUTE_CAPS, Allowance(0, NO_ZONES, NO_ZONES), stretches=((900_000, 135),), starts_in_s=0,
        planned_w=column([0]), silent=NOBODY, zone_no=column([0]), events=2,
    )  # fmt: skip

    assert brake.ceiling_w == 119_000


def test_zones_without_a_cap_have_none_where_two_events_share_and_leave_a_capped_one_its_part() -> None:
    caps = RampCaps(zone_w_per_min=column([4_000, UNBOUNDED_W, UNBOUNDED_W]))
    allowance = Allowance(UNBOUNDED_W, column([0, 0, 0]), column([450, UNBOUNDED_W, UNBOUNDED_W]))

    brake = brake_for(
        caps, allowance, stretches=((36_000, 13), (11_250, 2_100)), starts_in_s=0,
        planned_w=column([5_512, 30_000, 1_000]), silent=NOBODY, zone_no=column([0, 1, 2]), events=2,
    )  # fmt: skip

    assert brake.zone_ceiling_w.tolist() == [11_250, UNBOUNDED_W, UNBOUNDED_W]


def test_zone_with_a_low_cap_keeps_its_floor_beside_zones_with_very_high_ones() -> None:
    caps = RampCaps(zone_w_per_min=column([4_000, 50_000_000, 50_000_000]))

    brake = brake_for(
        caps, Allowance(UNBOUNDED_W, column([0] * 3), column([450, 12_000_000, 12_000_000])),
        stretches=((36_000, 13), (11_250, 2_100)), starts_in_s=0,
        planned_w=column([5_512, 30_000, 1_000]), silent=NOBODY, zone_no=column([0, 1, 2]), events=1,
    )  # fmt: skip

    assert brake.zone_ceiling_w[0] >= 5_062
    assert brake.zone_ceiling_w.sum() == 11_250


def test_zone_falls_ahead_to_what_silent_homes_elsewhere_leave_and_no_faster_than_it_may() -> None:
    caps = RampCaps(zone_w_per_min=column([4_000, UNBOUNDED_W]))
    allowance = Allowance(UNBOUNDED_W, column([0, 0]), column([1_000, UNBOUNDED_W]))

    all_heard, two_silent = (
        brake_for(
            caps, allowance, stretches=((36_000, 30), (11_250, 2_100)), starts_in_s=0,
            planned_w=column([6_000, 5_000, 10_000, 15_000]), silent=silent, zone_no=column([0, 0, 1, 1]),
            events=1,
        )
        for silent in (NOBODY, np.array([False, True, True, False]))
    )  # fmt: skip

    assert all_heard.zone_ceiling_w[0] > 11_000
    assert two_silent.zone_ceiling_w[0] == 10_000, "6 kW are to end in this minute, of which 1 kW may end now"


def test_what_leaves_ahead_of_the_start_rises_as_one_step() -> None:
    first, second = (
        brake_for(
            MINUTE_CAPS, Allowance(30_000, NO_ZONES, NO_ZONES), stretches=((900_000, 3_600),),
            starts_in_s=starts_in_s, planned_w=column([planned_w]), silent=NOBODY, zone_no=column([0]),
            events=1,
        )
        for starts_in_s, planned_w in ((60, 0), (45, 30_000))
    )  # fmt: skip

    assert (first.rise_w, second.rise_w) == (30_000, 0)


def test_emptiest_homes_end_first() -> None:
    setpoints, charge = column([3_000, 3_000, 3_000]), column([500, 900, 700])

    kept = Brake(ceiling_w=4_000).lowered(setpoints, charge, column([0, 0, 0]))

    assert kept.tolist() == [0, 3_000, 1_000]


def test_what_ends_leaves_each_zone_its_floor_where_others_have_enough() -> None:
    setpoints, charge, zone = column([3_000] * 4), column([500, 500, 900, 900]), column([0, 0, 1, 1])

    held = Brake(ceiling_w=8_000, zone_floor_w=column([4_000, 0])).lowered(setpoints, charge, zone)
    taken = Brake(ceiling_w=2_000, zone_floor_w=column([4_000, 0])).lowered(setpoints, charge, zone)

    assert held.tolist() == [3_000, 1_000, 3_000, 1_000]
    assert taken.tolist() == [2_000, 0, 0, 0]


def test_homes_leave_an_event_the_smallest_first_and_none_that_takes_its_zone_under_the_floor() -> None:
    setpoints, zone = column([5_000, 800, 0, 900, 5_000, 2_000]), column([0, 0, 0, 0, 1, 0])
    brake, leaving = Brake(zone_floor_w=column([7_000, 0])), np.array([True] * 5 + [False])

    assert brake.let_go(leaving, setpoints, zone).tolist() == [False, True, True, True, True, False]
    assert (Brake().let_go(leaving, setpoints, zone) == leaving).all()


def test_no_more_leaves_an_event_than_the_fleet_may_rise_meanwhile() -> None:
    setpoints, leaving = column([5_000, 2_000, 3_000, 700]), np.array([True, True, True, False])

    left = Brake(rise_w=5_000).let_go(leaving, setpoints, column([0] * 4))

    assert left.tolist() == [False, True, True, False]


def test_zone_is_held_to_its_own_cap() -> None:
    caps = RampCaps(zone_w_per_min=column([60_000, UNBOUNDED_W]))
    brake = Brake(
        zone_rise_w=column([4_000, UNBOUNDED_W]), zone_ceiling_w=np.full(2, UNBOUNDED_W), slows=True
    )

    slowed = brake.slowed(column([0] * 4), column([3_000] * 4), column([0, 0, 1, 1]))

    assert slowed.tolist() == [3_000, 1_000, 3_000, 3_000]
    assert caps.slowed_sites(column([0, 0, 1, 1])).tolist() == [True, True, False, False]


watts = st.integers(0, 12_000).map(lambda power: 0 if power < MIN_COMMAND_W else power)
homes = st.lists(st.tuples(watts, watts, st.integers(0, 1_000), st.integers(0, 2)), min_size=1, max_size=60)


@given(
    homes,
    st.integers(0, 200_000),
    st.integers(0, 400_000),
    st.lists(st.integers(0, 90_000), min_size=3, max_size=3),
)
def test_no_plan_passes_rise_or_ceiling(
    rows: list[tuple[int, int, int, int]], rise_w: int, ceiling_w: int, zone_rise_w: list[int]
) -> None:
    before, after, charge, zone = (column(each) for each in zip(*rows, strict=True))
    brake = Brake(rise_w, column(zone_rise_w), ceiling_w, np.full(3, UNBOUNDED_W), slows=True)

    slowed = brake.lowered(brake.slowed(before, after, zone), charge, zone)

    risen = np.maximum(slowed - before, 0)
    assert risen.sum() <= rise_w
    assert (np.bincount(zone, weights=risen, minlength=3) <= zone_rise_w).all()
    assert slowed.sum() <= ceiling_w
    assert (slowed <= np.maximum(before, after)).all()
    assert ((slowed == 0) | (slowed >= MIN_COMMAND_W)).all()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 90_000), st.sampled_from([8_000, 20_000, 45_000, 120_000, 50_000_000, UNBOUNDED_W])
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([30_000, 100_000, UNBOUNDED_W]),
    st.integers(0, 200_000),
    st.sampled_from([1, 2]),
)
@example(
    [(59_416, 8_000), (51_866, 45_000), (22_481, 45_000), (63_672, 8_000), (84_730, 120_000)],
    30_000,
    93_046,
    1,
)
@example([(48_256, 20_000), (43_257, 120_000), (48_357, 20_000), (58_360, 45_000)], 100_000, 523, 1)
def test_zones_fall_to_any_power_in_time_and_none_faster_than_its_cap(
    zones: list[tuple[int, int]], fleet_cap_w: int, next_w: int, events: int
) -> None:
    watts, caps_w = (column(each) for each in zip(*zones, strict=True))
    caps, capped = RampCaps(fleet_cap_w, caps_w), caps_w < UNBOUNDED_W
    zone_no = np.repeat(np.arange(len(zones)), 3)
    charge = np.arange(len(zone_no)) * 37 % 11
    log, setpoints = RampLog(), np.repeat(watts // 3, 3)
    course = []
    for left_s in range(1_200 * events, 0, -15):  # long enough for the slowest
        now_s = 100_000 - left_s
        brake = brake_for(
            caps, log.allowance(caps, now_s), stretches=((900_000, left_s), (next_w, 3_600)), starts_in_s=0,
            planned_w=setpoints, silent=NOBODY, zone_no=zone_no, events=events,
        )  # fmt: skip
        after = brake.lowered(setpoints, charge, zone_no)
        log.note(after - setpoints, zone_no, caps, now_s)
        setpoints = after
        course.append(np.bincount(zone_no, weights=setpoints, minlength=len(zones)))

    assert course[-1][capped].sum() <= next_w
    if fleet_cap_w < UNBOUNDED_W:
        assert course[-1].sum() <= next_w
    fallen: IntColumn = np.array(course[:-4]) - np.array(course[4:])
    assert (fallen[4:] <= caps_w).all()  # what no command is worth ends in the first minute
    assert (fallen[4:].sum(axis=1) <= fleet_cap_w).all()
