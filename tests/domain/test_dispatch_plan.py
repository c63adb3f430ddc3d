"""Level filling: exact to the watt, within every limit, the same for any order of sites."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpp.domain.dispatch_plan import (
    MIN_COMMAND_W,
    Allocation,
    Offers,
    Profile,
    Reason,
    first_reason,
    held_w,
    holding_s,
    plan_dispatch,
    profile_of,
    reason_code,
    sustainable_w,
)
from vpp.domain.quantities import IntColumn, column, flags

TWO_HOURS = 7200
NO_CAPS = column([])


def offers(*rows: tuple[int, int, int, int], feeder: list[int] | None = None) -> Offers:
    """Return offers from (limit_w, energy_full_wh, soc_permille, floor_permille)."""
    limit, full, soc, floor = (column(each) for each in zip(*rows, strict=True)) if rows else (NO_CAPS,) * 4
    none = column([-1] * len(rows))
    return Offers(
        column(range(len(rows))), limit, full, soc, floor, none if feeder is None else column(feeder), none
    )


def plan(
    power: int | None, asked: Offers, *, seconds: int = TWO_HOURS, caps: IntColumn = NO_CAPS
) -> Allocation:
    return plan_dispatch(Profile(power, power, seconds), asked, feeder_caps_w=caps, zone_caps_w=NO_CAPS)


def test_site_at_its_reserve_is_never_discharged() -> None:
    at_reserve = offers((5_000, 13_500, 200, 200))

    allocation = plan(5_000, at_reserve)

    assert allocation.setpoint_w.tolist() == [0]
    assert allocation.shortfall_w == 5_000


def test_fullest_batteries_help_first_and_helpers_end_level() -> None:
    fleet = offers((11_500, 13_500, 900, 200), (11_500, 13_500, 700, 200), (11_500, 13_500, 400, 200))

    allocation = plan(3_000, fleet)

    ends = [
        soc - watts * TWO_HOURS * 100 / (342 * 13_500)
        for soc, watts in zip((900, 700, 400), allocation.setpoint_w.tolist(), strict=True)
    ]
    assert allocation.setpoint_w.sum() == 3_000
    assert allocation.setpoint_w[2] == 0
    assert ends[0] == pytest.approx(ends[1], abs=0.16)  # one watt over two hours
    assert allocation.level_permille == pytest.approx(ends[0], abs=1)


# Usable energies 7.56, 2.7, 11.475 and 34.2 kWh over two hours give caps 3.78, 1.35, 5.0 and 11.5 kW.
FOUR_HOMES = ((5_000, 10_000, 0, 0), (5_000, 10_000, 0, 0), (5_000, 10_000, 0, 0), (11_500, 10_000, 0, 0))


def four_homes() -> Offers:
    fulls = [14_211, 14_211, 14_211, 40_000]
    socs = [760, 400, 1_000, 1_000]
    return offers(
        *((limit, full, soc, 200) for (limit, *_), full, soc in zip(FOUR_HOMES, fulls, socs, strict=True))
    )


def test_target_above_what_the_fleet_sustains_leaves_a_reported_shortfall() -> None:
    homes = four_homes()
    most_w = sustainable_w(homes, TWO_HOURS)

    allocation = plan(25_000, homes)

    assert allocation.setpoint_w.tolist() == most_w.tolist()
    assert allocation.shortfall_w == 25_000 - int(most_w.sum())


def test_no_target_asks_for_all_that_can_be_sustained() -> None:
    homes = four_homes()

    allocation = plan(None, homes)

    assert allocation.requested_w == int(sustainable_w(homes, TWO_HOURS).sum())
    assert allocation.shortfall_w == 0


def test_small_setpoints_are_dropped_from_the_bottom() -> None:
    many = offers(*((5_000, 13_500, 800 + row % 3, 200) for row in range(100)))

    allocation = plan(3_000, many)

    helping = allocation.setpoint_w[allocation.setpoint_w > 0]
    assert helping.sum() == 3_000
    assert helping.min() >= MIN_COMMAND_W
    assert set(np.flatnonzero(allocation.setpoint_w) % 3) == {2}  # only the fullest third


def test_feeder_never_carries_more_than_its_cap_and_the_rest_comes_from_elsewhere() -> None:
    fleet = offers(*((5_000, 13_500, 900, 200) for _ in range(8)), feeder=[0, 0, 0, 0, 1, 1, 1, 1])

    allocation = plan(10_000, fleet, caps=column([2_001, 50_000]))

    assert allocation.setpoint_w[:4].sum() == 2_001
    assert allocation.setpoint_w.sum() == 10_000
    assert allocation.capped[:4].all()
    assert not allocation.capped[4:].any()


def test_profile_spreads_the_shortfall_flat_over_stretches_of_different_power() -> None:
    fleet = offers((5_000, 40_000, 1_000, 200), (5_000, 40_000, 1_000, 200))
    now_low_then_high = profile_of(((6_000, 3_600), (20_000, 3_600)))

    allocation = plan_dispatch(now_low_then_high, fleet, feeder_caps_w=NO_CAPS, zone_caps_w=NO_CAPS)

    assert allocation.setpoint_w.sum() == 3_000  # half of 20 kW is all the limits allow, so half of 6 kW


def test_small_step_before_a_peak_is_served_by_a_few_homes_instead_of_by_none() -> None:
    fleet = offers(*((5_000, 13_500, 950, 200) for _ in range(10)))
    small_then_peak = profile_of(((4_000, 3_600), (50_000, 3_600)))

    allocation = plan_dispatch(small_then_peak, fleet, feeder_caps_w=NO_CAPS, zone_caps_w=NO_CAPS)

    helping = allocation.setpoint_w[allocation.setpoint_w > 0]
    assert helping.sum() == 4_000
    assert helping.min() >= MIN_COMMAND_W
    assert allocation.shortfall_w == 0


def test_small_step_is_short_by_the_same_part_as_the_peak() -> None:
    fleet = offers(*((5_000, 13_500, 600, 200) for _ in range(10)))  # 51.3 kWh above the floor, 66 kWh owed
    small_then_peak = profile_of(((4_000, 4 * 3_600), (50_000, 3_600)))

    allocation = plan_dispatch(small_then_peak, fleet, feeder_caps_w=NO_CAPS, zone_caps_w=NO_CAPS)

    assert allocation.setpoint_w.sum() == pytest.approx(4_000 * 51_300 / 66_000, abs=10)
    assert allocation.setpoint_w.sum() + allocation.shortfall_w == 4_000


def test_remaining_time_is_never_taken_under_ten_minutes() -> None:
    assert profile_of(((5_000, 30),)).seconds == 600


def test_first_reason_that_applies_is_the_one_a_site_gets() -> None:
    stale, below = flags([True, False, False]), flags([True, True, False])

    codes = first_reason(3, ((Reason.BELOW_RESERVE, below), (Reason.STALE, stale)))

    assert codes.tolist() == [reason_code(r) for r in (Reason.STALE, Reason.BELOW_RESERVE, Reason.SELECTED)]


site_rows = st.tuples(
    st.sampled_from([0, 250, 750, 5_000, 10_000, 11_500]),
    st.integers(1_000, 60_000),
    st.integers(0, 1_000),
    st.integers(0, 1_000),
)


@settings(max_examples=300)
@given(
    rows=st.lists(site_rows, max_size=25),
    power=st.none() | st.integers(0, 120_000),
    seconds=st.integers(600, 20_000),
    data=st.data(),
)
def test_laws_of_every_allocation(
    rows: list[tuple[int, int, int, int]], power: int | None, seconds: int, data: st.DataObject
) -> None:
    feeder = data.draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows)))
    caps = column(data.draw(st.lists(st.integers(0, 30_000), min_size=3, max_size=3)))
    fleet = offers(*rows, feeder=feeder)
    shuffle = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64)

    allocation = plan(power, fleet, seconds=seconds, caps=caps)
    shuffled = plan_dispatch(
        Profile(power, power, seconds),
        Offers(*(getattr(fleet, name)[shuffle] for name in Offers.__slots__)),
        feeder_caps_w=caps,
        zone_caps_w=NO_CAPS,
    )

    watts = allocation.setpoint_w
    assert watts.sum() + allocation.shortfall_w == allocation.requested_w
    assert allocation.shortfall_w >= 0
    assert (watts <= sustainable_w(fleet, seconds)).all()
    assert ((watts == 0) | (watts >= MIN_COMMAND_W)).all()
    for number in range(3):
        assert watts[fleet.feeder_no == number].sum() <= caps[number]
    assert shuffled.setpoint_w.tolist() == watts[shuffle].tolist()


@settings(max_examples=200)
@given(
    rows=st.lists(site_rows, max_size=25),
    stretches=st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 20_000)), min_size=1, max_size=4),
    data=st.data(),
)
def test_laws_of_an_allocation_hold_for_any_course_of_power(
    rows: list[tuple[int, int, int, int]], stretches: list[tuple[int, int]], data: st.DataObject
) -> None:
    feeder = data.draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows)))
    caps = column(data.draw(st.lists(st.integers(0, 30_000), min_size=3, max_size=3)))
    fleet = offers(*rows, feeder=feeder)
    profile = profile_of(tuple(stretches))

    allocation = plan_dispatch(profile, fleet, feeder_caps_w=caps, zone_caps_w=NO_CAPS)

    watts = allocation.setpoint_w
    assert watts.sum() + allocation.shortfall_w == allocation.requested_w == stretches[0][0]
    assert allocation.shortfall_w >= 0
    assert (watts <= sustainable_w(fleet, min(stretches[0][1], profile.at_peak_s))).all()
    assert ((watts == 0) | (watts >= MIN_COMMAND_W)).all()
    for number in range(3):
        assert watts[fleet.feeder_no == number].sum() <= caps[number]


@settings(max_examples=200)
@given(rows=st.lists(site_rows, min_size=1, max_size=20), share=st.integers(1, 100))
def test_nothing_is_short_while_sites_could_still_carry_it(
    rows: list[tuple[int, int, int, int]], share: int
) -> None:
    fleet = offers(*rows)
    able = sustainable_w(fleet, TWO_HOURS)
    power = int(able[able >= MIN_COMMAND_W].sum()) * share // 100

    allocation = plan(power, fleet)

    # What is under one command's worth cannot always be placed: everyone may be full or under 500 W.
    assert allocation.shortfall_w < MIN_COMMAND_W


@given(
    full_wh=st.integers(0, 200_000),
    above_permille=st.integers(-500, 1_000),
    power_w=st.integers(1, 50_000),
    seconds=st.integers(600, 86_400),
)
def test_energy_holds_a_power_for_as_long_as_it_can_sustain_it(
    full_wh: int, above_permille: int, power_w: int, seconds: int
) -> None:
    stored = column([full_wh]), column([above_permille])

    (lasts_s,) = holding_s(*stored, column([power_w])).tolist()

    assert (lasts_s >= seconds) == (held_w(*stored, seconds)[0] >= power_w)
