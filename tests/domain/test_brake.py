"""Ramp caps: no rise and no scheduled end changes the fleet's power faster than allowed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.brake import UNBOUNDED_W, Brake, RampCaps, RampLog, brake_for
from vpp.domain.dispatch_plan import MIN_COMMAND_W
from vpp.domain.quantities import column

NO_ZONES = column([])
MINUTE_CAPS = RampCaps(120_000)


def brake_of(caps: RampCaps, *stretches: tuple[int | None, int], rise_w: int = UNBOUNDED_W) -> Brake:
    """Return the brake of an event that runs now, alone."""
    zones = np.full(len(caps.zone_w_per_min), UNBOUNDED_W)
    return brake_for(caps, (rise_w, zones), stretches=stretches, starts_in_s=0, planned_w=0, events=1)


def test_without_caps_nothing_is_slowed() -> None:
    assert not RampCaps().slows
    assert not brake_of(RampCaps(), (5_000, 3_600)).slows


def test_quarter_of_a_minutes_change_is_let_through_in_a_quarter_of_a_minute() -> None:
    log = RampLog()

    first_w, _ = log.allowance(MINUTE_CAPS, 1_000)
    log.note(column([30_000]), column([0]), MINUTE_CAPS, 1_000)
    at_once_w, _ = log.allowance(MINUTE_CAPS, 1_005)
    later_w, _ = log.allowance(MINUTE_CAPS, 1_015)

    assert (first_w, at_once_w, later_w) == (30_000, 0, 30_000)


def test_restart_lets_nothing_rise_before_one_pace_has_passed() -> None:
    log = RampLog(since_s=1_000)

    assert log.allowance(MINUTE_CAPS, 1_010)[0] == 0
    assert log.allowance(MINUTE_CAPS, 1_015)[0] == 30_000


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
        MINUTE_CAPS, (0, NO_ZONES), stretches=((900_000, 135),), starts_in_s=0, planned_w=0, events=2
    )

    assert brake.ceiling_w == 119_000


def test_what_leaves_ahead_of_the_start_rises_as_one_step() -> None:
    first = brake_for(
        MINUTE_CAPS, (30_000, NO_ZONES), stretches=((900_000, 3_600),), starts_in_s=60, planned_w=0, events=1
    )
    second = brake_for(
        MINUTE_CAPS, (30_000, NO_ZONES), stretches=((900_000, 3_600),), starts_in_s=45, planned_w=30_000,
        events=1,
    )  # fmt: skip

    assert (first.rise_w, second.rise_w) == (30_000, 0)


def test_emptiest_homes_end_first() -> None:
    setpoints, charge = column([3_000, 3_000, 3_000]), column([500, 900, 700])

    kept = Brake(ceiling_w=4_000).lowered(setpoints, charge, column([0, 0, 0]))

    assert kept.tolist() == [0, 3_000, 1_000]


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
