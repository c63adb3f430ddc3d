"""``python -m simulators.chaos``: kill the real controller and broker, and see that nothing is lost.

A mosquitto without persistence, a database, ``vpp serve`` and a fleet of homes, each a process; the
controller is killed at commits and sends drawn from a seed, the broker in mid-dispatch. After each kill
everything heard on the wire is compared with the database, the homes' own report and the books.
"""

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from simulators.chaos.broker import MosquittoMissing
from simulators.chaos.stage import NotSetUp
from simulators.chaos.story import play


def command_line() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog="python -m simulators.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, metavar="N")
    parser.add_argument("--takeovers", type=int, default=0, metavar="N", help="of two controllers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--homes", type=int, default=24, metavar="N")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database; default: SQLite")
    parser.add_argument(
        "--folder", type=Path, help="keep everything there; default: a folder that is removed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object last")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 nothing was lost, 1 something was, or it could not run."""
    arguments = command_line().parse_args(words)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="vpp-chaos-") as spare:
        folder = arguments.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            tally = asyncio.run(
                play(
                    folder,
                    count=arguments.kills,
                    takeovers=arguments.takeovers,
                    homes=arguments.homes,
                    seed=arguments.seed,
                    database_url=arguments.database_url,
                    say=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201  # progress
                )
            )
        except (MosquittoMissing, NotSetUp) as problem:
            sys.stderr.write(f"{problem}\n")
            return 1
    tally.show(sys.stdout)
    if tally.faults:
        sys.stdout.write(
            f"again: python -m simulators.chaos --kills {arguments.kills} "
            f"--takeovers {arguments.takeovers} --seed {arguments.seed} "
            f"--homes {arguments.homes} --folder FOLDER\n"
        )
    if arguments.json:
        sys.stdout.write(json.dumps(tally.as_json()) + "\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
