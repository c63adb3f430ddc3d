"""``python -m tests.hostile [--inputs N] [--seed S]``: spoiled input at every parser, counted by answer."""

import argparse
import sys

from tests.hostile.parsers import parsers
from tests.hostile.throwing import throw

INPUTS = 200_000


def main() -> int:
    """Throw, print one line for each parser, and fail where one answered with anything but its refusals."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="how many at least")
    parser.add_argument("--seed", type=int, default=1, help="another seed spoils otherwise")
    chosen = parser.parse_args()
    thrown = throw(parsers(), chosen.inputs, seed=chosen.seed)
    for each in thrown.outcomes:
        counted = f"{each.inputs:9,} inputs {each.taken:8,} taken {each.refused:9,} refused"
        sys.stdout.write(f"{each.name:28}{counted}, slowest {each.slowest_ms:6.1f} ms\n")
    for said in thrown.uncaught:
        sys.stdout.write(f"UNCAUGHT {said}\n")
    total = f"{thrown.inputs:,} inputs, {len(thrown.uncaught)} uncaught, {thrown.grown_mb:.1f} MB grown"
    sys.stdout.write(f"{total}\n")
    return 1 if thrown.uncaught else 0


if __name__ == "__main__":
    sys.exit(main())
