"""Every bug that was ever planted is found, by the invariant that should, and nothing else is."""

import pytest

from tests.simulation.planted_bugs import TABLES
from tests.simulation.planting import BUGS, SEEDS, PlantedBug, complaints, play


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_planted_bug_breaks_what_it_should(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)

    assert bug.invariant in complaints(play(bug.seed, minutes=bug.minutes))


@pytest.mark.parametrize(("seed", "minutes"), sorted({(bug.seed, bug.minutes) for bug in BUGS}))
def test_without_its_bug_a_history_holds(seed: int, minutes: int) -> None:
    assert not play(seed, minutes=minutes).violations


def test_the_table_is_long_and_every_bug_is_found_early() -> None:
    assert len({bug.name for bug in BUGS}) >= 25
    assert {bug.plant.__module__ for bug in BUGS} == {table.__name__ for table in TABLES}
    assert max(bug.seed for bug in BUGS) <= SEEDS
