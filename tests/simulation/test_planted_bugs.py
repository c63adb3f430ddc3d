"""Every bug that was ever planted is found, by the invariant that should, and nothing else is."""

from itertools import chain

import pytest

from tests.simulation.planted_bugs import TABLES
from tests.simulation.planting import BUGS, SEEDS, PlantedBug, found_by, play, promising


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_breaks_what_it_should(bug: PlantedBug) -> None:
    # A change of the product gives every seed another history: then others of the 500 are tried as well.
    tried = chain([bug.seed], promising(bug, range(1, SEEDS + 1)))

    assert found_by(bug, tried) is not None


@pytest.mark.parametrize(("seed", "minutes"), sorted({(bug.seed, bug.minutes) for bug in BUGS}))
def test_without_its_bug_a_history_holds(seed: int, minutes: int) -> None:
    assert not play(seed, minutes=minutes).violations


def test_the_table_is_long_and_every_bug_is_found_early() -> None:
    assert len({bug.name for bug in BUGS}) >= 25
    assert {bug.plant.__module__ for bug in BUGS} == {table.__name__ for table in TABLES}
    assert max(bug.seed for bug in BUGS) <= SEEDS
