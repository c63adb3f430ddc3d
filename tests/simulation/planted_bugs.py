"""Bugs that are planted on purpose: each must be found by the simulation, and each was.

A bug is one small change of a real function, switched on by a test and nowhere else. Beside it stand the
invariant that must complain and the seed that makes it. ``python -m tests.simulation.planted_bugs`` prints
the table; with ``--search`` it looks for the first such seed of every bug, or of those named.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from random import Random

import pytest

from simulators.faults import Climate
from tests.simulation import bugs_of_homes_and_money, bugs_of_the_controller
from tests.simulation.planting import BUGS, SEEDS, complaints, play

OFTEN_S = 10
TABLES = (bugs_of_the_controller, bugs_of_homes_and_money)  # importing them fills the table


def search(names: Sequence[str], *, first: int, seeds: int) -> int:
    """Print the first seed that finds each bug, and return how many were not found."""
    missed = 0
    for bug in BUGS:
        if names and bug.name not in names:
            continue
        began, found = time.process_time(), None
        other: set[str] = set()
        for seed in range(first, first + seeds):
            climate = Climate.drawn(Random(seed))
            if bug.needs and not (bug.needs <= climate.kinds and climate.mean_between_s <= OFTEN_S):
                continue
            with pytest.MonkeyPatch.context() as patch:
                bug.plant(patch)
                heard = complaints(play(seed, minutes=bug.minutes))
            other |= heard - {bug.invariant}
            if bug.invariant in heard:
                found = seed
                break
        missed += found is None
        spent = time.process_time() - began
        others = f" (also {', '.join(sorted(other))})" if other else ""
        sys.stdout.write(f"{bug.invariant:6} seed {found!s:4} {spent:5.1f} s  {bug.name}{others}\n")
        sys.stdout.flush()
    return missed


def main() -> int:
    """Search for seeds, or list the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted_bugs", description=__doc__)
    parser.add_argument("names", nargs="*", help="bugs, all by default")
    parser.add_argument("--search", action="store_true", help="play seeds until one finds each bug")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many at most for each bug")
    arguments = parser.parse_args()
    if arguments.search:
        return 1 if search(arguments.names, first=arguments.first, seeds=arguments.seeds) else 0
    for bug in BUGS:
        sys.stdout.write(f"{bug.invariant:6} seed {bug.seed:4} {bug.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
