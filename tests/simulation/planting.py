"""How a bug is planted, for one test, and how a short history shows that it was found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import pytest

from simulators.faults import Climate, Fault
from simulators.history_of_seed import HistoryOfSeed, Outcome
from simulators.simulation import quiet
from simulators.stand_ins import hashed_signatures

MINUTES = 6
"""Trouble is short here: what takes an hour to happen is rarely what finds a bug."""
SEEDS = 500
"""Each bug is found within so many seeds."""
OFTEN_S = 10

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One planted bug. ``seed`` is one whose history shows it; ``invariant`` is what complains.

    ``minutes`` is how long trouble must last, ``needs`` the kinds of trouble without which a search for
    another seed would be in vain.
    """

    name: str
    invariant: str
    seed: int
    plant: Plant
    minutes: int
    needs: frozenset[Fault]


BUGS: list[PlantedBug] = []


def planted(
    invariant: str, *, seed: int, minutes: int = MINUTES, needs: Sequence[Fault] = ()
) -> Callable[[Plant], Plant]:
    """Put a function that plants a bug into the table, under its own name."""

    def into_the_table(plant: Plant) -> Plant:
        BUGS.append(PlantedBug(plant.__name__, invariant, seed, plant, minutes, frozenset(needs)))
        return plant

    return into_the_table


def play(seed: int, *, minutes: int = MINUTES) -> Outcome:
    """Play a short history."""
    with quiet(), hashed_signatures():
        return HistoryOfSeed(seed, harsh=True, minutes=minutes).play()


def complaints(outcome: Outcome) -> set[str]:
    """Return the invariants that did not hold."""
    return {violation.invariant for violation in outcome.violations}


def promising(bug: PlantedBug, seeds: Iterable[int]) -> Iterator[int]:
    """Yield the seeds whose climate has what the bug needs to show, and often."""
    for seed in seeds:
        climate = Climate.drawn(Random(seed))
        if not bug.needs or (bug.needs <= climate.kinds and climate.mean_between_s <= OFTEN_S):
            yield seed


def found_by(bug: PlantedBug, seeds: Iterable[int]) -> int | None:
    """Return the first of these seeds whose history breaks the bug's invariant once it is planted."""
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            bug.plant(patch)
            if bug.invariant in complaints(play(seed, minutes=bug.minutes)):
                return seed
    return None
