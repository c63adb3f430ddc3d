"""Bugs that are planted on purpose: each must be found by the simulation, and each was.

A bug is one small change of a real function, switched on by a test and nowhere else. Beside it stand the
invariant that must complain and the seed that makes it. ``python -m tests.simulation.planted_bugs`` prints
the table; with ``--search`` it looks for the first such seed of every bug, or of those named.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.simulation import bugs_of_homes_and_money, bugs_of_the_controller
from tests.simulation.planting import BUGS, SEEDS, found_by, promising

TABLES = (bugs_of_the_controller, bugs_of_homes_and_money)  # importing them fills the table


def search(names: Sequence[str], *, first: int, seeds: int) -> int:
    """Print the first seed that finds each bug, and return how many were not found."""
    missed = 0
    for bug in BUGS:
        if names and bug.name not in names:
            continue
        began = time.process_time()
        found = found_by(bug, promising(bug, range(first, first + seeds)))
        missed += found is None
        spent = time.process_time() - began
        sys.stdout.write(f"{bug.invariant:6} seed {found!s:4} {spent:5.1f} s  {bug.name}\n")
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
