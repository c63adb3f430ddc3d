"""Which homes a more important event leaves to the others."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.quantities import BoolColumn, IntColumn, column, flags
from vpp.domain.sharing import Claim, left_to_others

EMERGENCY, WATCH = 1, 2
NOBODY = -1


def everyone(sites: int) -> BoolColumn:
    return flags([True] * sites)


def left(
    mine_w: int | None, later_w: int | None, firm_w: list[int], serving: list[int] | None = None
) -> IntColumn:
    sites = len(firm_w)
    found = left_to_others(
        Claim(EMERGENCY, everyone(sites), mine_w),
        [Claim(WATCH, everyone(sites), later_w)],
        firm_w=column(firm_w),
        serving_no=column(serving or [NOBODY] * sites),
    )
    return np.flatnonzero(found)


def test_two_events_of_one_size_share_a_plentiful_fleet_by_halves() -> None:
    assert len(left(10_000, 10_000, [5_000] * 10)) == 5


def test_the_more_important_event_gets_all_it_asks_where_it_does_not_reach_for_both() -> None:
    assert len(left(40_000, 40_000, [5_000] * 10)) == 2


def test_an_event_that_asks_for_everything_leaves_nothing() -> None:
    assert len(left(None, 10_000, [5_000] * 10)) == 0


def test_an_event_leaves_what_it_does_not_need_to_one_that_asks_for_everything() -> None:
    assert len(left(10_000, None, [5_000] * 10)) == 8


def test_homes_that_serve_an_event_go_on_with_it_while_the_others_can_have_what_they_ask() -> None:
    serving = [EMERGENCY] * 7 + [NOBODY] * 3

    assert left(10_000, 10_000, [5_000] * 10, serving).tolist() == [7, 8, 9]


def test_homes_that_serve_the_other_event_are_taken_last() -> None:
    serving = [WATCH] * 2 + [NOBODY] * 8

    assert {0, 1} <= set(left(10_000, 10_000, [5_000] * 10, serving).tolist())


def test_homes_that_only_the_later_event_may_use_are_counted_for_it() -> None:
    found = left_to_others(
        Claim(EMERGENCY, flags([True] * 4 + [False] * 4), 10_000),
        [Claim(WATCH, everyone(8), 20_000)],
        firm_w=column([5_000] * 8),
        serving_no=column([NOBODY] * 8),
    )

    assert not found.any()


def test_homes_that_fewer_others_may_use_are_taken_first() -> None:
    one_feeder = flags([True, False] * 4)

    found = left_to_others(
        Claim(EMERGENCY, everyone(8), 20_000),
        [Claim(WATCH, everyone(8), 20_000), Claim(3, one_feeder, 20_000)],
        firm_w=column([5_000] * 8),
        serving_no=column([NOBODY] * 8),
    )

    assert found.tolist() == one_feeder.tolist()


def test_homes_of_a_zone_that_may_carry_no_more_are_left_and_others_taken_for_them() -> None:
    homes, zone = everyone(8), column([0, 0, 0, 0, 1, 1, 1, 1])
    event, other = Claim(EMERGENCY, homes, 20_000), Claim(WATCH, homes, 20_000)

    found = left_to_others(
        event,
        [other],
        firm_w=column([5_000] * 8),
        serving_no=column([EMERGENCY] * 4 + [WATCH] * 4),
        ceilings=((zone, column([8_000, 10**12])),),
    )

    assert np.count_nonzero(~found[:4]) == 2
    assert np.count_nonzero(~found[4:]) == 3


def test_power_that_the_network_cannot_carry_is_shared_by_nobody() -> None:
    homes, feeder = everyone(8), column([0, 0, 0, 0, 1, 1, 1, 1])

    found = left_to_others(
        Claim(EMERGENCY, homes, 10_000),
        [Claim(WATCH, homes, 10_000)],
        firm_w=column([5_000] * 8),
        serving_no=column([NOBODY] * 8),
        network=((feeder, column([0, 10**12])),),
    )

    assert np.count_nonzero(~found[4:]) == 2, "half of the four that can be used"


@given(
    st.lists(st.integers(0, 9_000), min_size=1, max_size=40),
    st.integers(0, 200_000),
    st.integers(0, 200_000),
)
def test_what_is_left_never_costs_the_more_important_event_what_it_asks(
    firm_w: list[int], mine_w: int, later_w: int
) -> None:
    taken_w = sum(firm_w) - int(column(firm_w)[left(mine_w, later_w, firm_w)].sum())

    assert taken_w >= min(mine_w, sum(firm_w))
