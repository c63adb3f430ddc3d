"""``python -m simulators``: seeded histories of a whole fleet; homes, grid operators and stories.

Without a subcommand whole histories are simulated, faults and attacks included, and what must always
hold is checked after every step.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from simulators.batched_client import BrokerGone
from simulators.demo import PacketsMissing, add_demo_arguments, run_demo
from simulators.fleet import add_fleet_arguments, run_fleet
from simulators.grid import add_grid_arguments, make_key_file, run_grid
from simulators.home_files import UnusableFile, add_homes_arguments, run_homes
from simulators.scenario import UnknownScenario
from simulators.simulation import add_simulation_arguments, run_simulation
from vpp.adapters.clock import WallClock
from vpp.adapters.mqtt import NotABrokerUrl
from vpp.wire.signed import NotAKey

_REFUSALS = (
    UnusableFile,
    UnknownScenario,
    NotABrokerUrl,
    NotAKey,
    PacketsMissing,
    BrokerGone,
    FileExistsError,
)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    add_simulation_arguments(parser)
    commands = parser.add_subparsers(dest="command")
    add_homes_arguments(
        commands.add_parser("homes", help="make homes: sites.csv, gateways.json, history.csv")
    )
    add_fleet_arguments(commands.add_parser("fleet", help="run homes in real time against a broker"))
    add_grid_arguments(commands.add_parser("grid", help="send one grid signal and wait for its receipt"))
    add_demo_arguments(commands.add_parser("demo", help="run homes on a clock stepped over standard input"))
    keygen = commands.add_parser("keygen", help="make a key for a grid operator")
    keygen.add_argument("--out", type=Path, required=True, metavar="FILE")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code: 0 done, 1 failed, 2 usage."""
    arguments = command_line().parse_args(words)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        match arguments.command:
            case None:
                return run_simulation(arguments)
            case "homes":
                return run_homes(arguments, now=WallClock().now())
            case "fleet":
                return asyncio.run(run_fleet(arguments))
            case "grid":
                return asyncio.run(run_grid(arguments))
            case "demo":
                return asyncio.run(run_demo(arguments))
            case _:
                public_key = make_key_file(arguments.out).text
                sys.stdout.write(json.dumps({"key": str(arguments.out), "public_key": public_key}) + "\n")
                return 0
    except _REFUSALS as problem:
        sys.stderr.write(f"{problem}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
