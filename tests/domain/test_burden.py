"""The season's burden: hours, energy, cycles, and one index that says how evenly it was carried."""

from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.burden import Burden, SeasonUse, jain_permille
from vpp.domain.quantities import column


def test_everybody_carrying_the_same_is_a_thousand() -> None:
    assert jain_permille(column([7, 7, 7, 7])) == 1000


def test_one_home_carrying_everything_is_one_in_as_many_as_there_are() -> None:
    assert jain_permille(column([0, 0, 9, 0])) == 250


def test_nobody_carrying_anything_is_shared_evenly() -> None:
    assert jain_permille(column([0, 0, 0])) == 1000


def test_cycles_are_energy_by_what_the_pack_holds_for_its_owner() -> None:
    burden = Burden.none(2).with_event(column([3_600, 7_200]), column([12_825, 12_825]))

    assert burden.milli_cycles(column([13_500, 27_000])).tolist() == [1_000, 500]
    assert burden.events.tolist() == [1, 1]


def test_home_that_was_not_asked_has_no_event_and_counters_that_fell_give_nothing() -> None:
    burden = Burden.none(2).with_event(column([0, 3_600]), column([0, -50]))

    assert burden.events.tolist() == [0, 1]
    assert burden.energy_wh.tolist() == [0, 0]


def test_sites_enrolled_after_the_count_have_done_nothing_yet() -> None:
    use = SeasonUse(seconds=column([7_200, 3_600]))

    assert use.reached(7_200, 3).tolist() == [True, False, False]
    assert use.reached(None, 2).tolist() == [False, False]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200))
def test_index_lies_between_one_nth_and_one_and_does_not_change_with_the_unit(shares: list[int]) -> None:
    index = jain_permille(column(shares))

    assert 1000 // len(shares) <= index <= 1000
    assert jain_permille(column([7 * share for share in shares])) == index
