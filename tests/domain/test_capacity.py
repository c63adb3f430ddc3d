"""Firm power: what is promised is reached as often as is said, and never more than there is."""

import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.capacity import (
    PRIOR_COMMON_PERMILLE,
    PRIOR_SHARE_PERMILLE,
    TrackRecord,
    firm_by_group,
    firm_power,
    over_select,
    power_reached_w,
)
from vpp.domain.quantities import IntColumn, column


def a_record(*homes: tuple[int, int], together: tuple[int, ...] = ()) -> TrackRecord:
    """Return a record of (events, mean share in permille) for each home."""
    events = column(count for count, _ in homes)
    return TrackRecord(events, column(count * share for count, share in homes), together)


def test_home_without_a_record_is_expected_to_give_the_prior_share() -> None:
    assert TrackRecord.empty(2).expected_permille().tolist() == [PRIOR_SHARE_PERMILLE] * 2
    assert TrackRecord.empty(2).common_permille == PRIOR_COMMON_PERMILLE


def test_record_moves_expectation_from_the_prior_towards_what_was_seen() -> None:
    record = a_record((5, 500), (1_000, 500), (0, 0))

    assert record.expected_permille().tolist() == [700, 501, 900]


def test_event_in_which_all_failed_together_widens_what_is_in_common() -> None:
    calm = a_record((3, 900), together=(900, 900, 900))
    shaken = a_record((3, 900), together=(900, 300, 900))

    assert shaken.common_permille > PRIOR_COMMON_PERMILLE > calm.common_permille


def test_unreliable_homes_lower_firm_power_more_than_reliable_ones() -> None:
    power = column([5_000] * 100)

    reliable = firm_power(power, a_record(*[(20, 1_000)] * 100))
    unreliable = firm_power(power, a_record(*[(20, 400)] * 100))

    assert unreliable.p90_w < unreliable.p50_w < unreliable.p10_w < reliable.p90_w
    assert reliable.p10_w <= 500_000


def test_what_homes_have_in_common_does_not_average_out_in_a_large_fleet() -> None:
    small, large = (firm_power(column([5_000] * sites), TrackRecord.empty(sites)) for sites in (100, 100_000))

    assert large.p90_w / large.p50_w == pytest.approx(1 - 1.2816 * 0.05, abs=0.002)
    assert small.p90_w / small.p50_w < large.p90_w / large.p50_w


def test_groups_are_judged_by_their_own_homes() -> None:
    power, record = column([5_000] * 4), a_record((20, 1_000), (20, 1_000), (20, 0), (20, 0))

    p90, p50, _ = firm_by_group(power, record, column([0, 0, 1, 1]), 3)

    assert p50.tolist() == [9_800, 1_800, 0]
    assert p90[1] == 0


def evenly(fleet: int, most_w: int) -> Callable[[int], IntColumn]:
    def share_out(asked_w: int) -> IntColumn:
        return np.full(fleet, min(asked_w, most_w) // fleet, dtype=np.int64)

    return share_out


def test_more_is_asked_so_that_the_target_is_reached_surely_enough() -> None:
    record = TrackRecord.empty(1_000)

    found = over_select(2_000_000, 5_000_000, record, evenly(1_000, 5_000_000), confidence_permille=900)

    assert found.reaches_w >= 2_000_000
    assert 2_300_000 < found.asked_w < 2_500_000


def test_where_even_the_whole_fleet_is_not_enough_the_whole_fleet_is_asked() -> None:
    found = over_select(
        5_000_000, 5_000_000, TrackRecord.empty(100), evenly(100, 5_000_000), confidence_permille=900
    )

    assert found.asked_w == 5_000_000
    assert found.reaches_w < 5_000_000


def test_promised_power_is_reached_as_often_as_is_said() -> None:
    sites, chance = 400, random.Random(7)
    power = column(chance.choice((2_000, 5_000, 11_500)) for _ in range(sites))
    record = a_record(*[(40, 850)] * sites)
    p90 = power_reached_w(power, record.expected_permille(), PRIOR_COMMON_PERMILLE, confidence_permille=900)

    reached = 0
    for _ in range(2_000):
        common = chance.gauss(1.0, PRIOR_COMMON_PERMILLE / 1000)
        gives = sum(int(watts) for watts in power if chance.random() < 0.855)
        reached += gives * common >= p90
    assert reached / 2_000 == pytest.approx(0.9, abs=0.03)


homes = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 30), st.integers(0, 1_000)), min_size=1)


@given(homes)
def test_firm_power_lies_between_nothing_and_all_there_is(rows: list[tuple[int, int, int]]) -> None:
    power = column(watts for watts, _, _ in rows)
    firm = firm_power(power, a_record(*((count, share) for _, count, share in rows)))

    assert 0 <= firm.p90_w <= firm.p50_w <= firm.p10_w <= int(power.sum())
